"""Which engines, devices, sessions, precisions and batches are measured, and what each engine is called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path


@dataclass(frozen=True)
class Group:
    """An engine as it is opened; its batches share the session.

    Attributes:
        path: of the engine.
        name: tells it from the other engines of the run.
        device, session, compute: see `open_session`.
    """

    path: Path
    name: str
    device: str
    session: str
    compute: str

    @property
    def label(self) -> str:
        """As it was asked for."""
        asked = [f"--device {self.device}", f"--session {self.session}"] + [f"--compute {self.compute}"] * (
            self.compute != "card"
        )
        return f"{self.name} with {' '.join(asked)}"


def groups_of(
    engines: Sequence[Path], devices: Sequence[str], sessions: Sequence[str], computes: Sequence[str]
) -> list[Group]:
    """Every engine in every way that is asked for, in that order."""
    names = names_of(engines)
    return [
        Group(engine, names[engine], device, session, compute)
        for engine, device, session, compute in product(names, devices, sessions, computes)
    ]


def names_of(engines: Sequence[Path]) -> dict[Path, str]:
    """Each engine's file name; with as many of its folders before it as tell it from the others."""
    paths = list(dict.fromkeys(engines))
    for depth in range(1, 2 + max((len(path.absolute().parts) for path in paths), default=0)):
        names = ["/".join(path.absolute().parts[-depth:]) for path in paths]
        if max(Counter(names).values(), default=1) == 1:
            return dict(zip(paths, names))
    return {path: str(path) for path in paths}
