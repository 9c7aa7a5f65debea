"""An input or an output of a graph."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Port:
    """An input or an output, or a tensor of a checkpoint.

    Attributes:
        name: as the file has it.
        dtype: numpy's name of the type, such as `uint8`; `bfloat16` and the like are named as everybody does.
        shape: sizes; a text is the name of a size that is known only when it runs, such as `N`.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} ({', '.join(map(str, self.shape))})"
