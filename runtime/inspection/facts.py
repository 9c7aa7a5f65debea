"""What an inspection is made of: the inspection itself, and the ports that a card promises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.graphs.port import Port


@dataclass(frozen=True)
class Inspection:
    """What a file says of itself.

    Attributes:
        path: of the file, as it was given.
        kind: `onnx`, `plan`, `checkpoint`, `reference` or `sidecar`.
        bytes: its size.
        sha256: of the whole file.
        card: the model card; None where it carries none.
        sidecar: `matches`, `differs`, `not listed`, `none`: what the sidecar beside it says (see `sidecar.py`).
        signature: what the signature beside it says (see `signed.py`).
        inputs: what it takes.
        outputs: what it returns.
        ports_from: `graph`, `card` or empty: where inputs and outputs stand.
        built_by: what made it, by name, with its version.
        details: what only this kind of file has, as JSON values.
    """

    path: str
    kind: str
    bytes: int
    sha256: str
    card: ModelCard | None = None
    sidecar: str = "none"
    signature: Mapping[str, str] = field(default_factory=lambda: {"state": "none"})
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    ports_from: str = ""
    built_by: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        values = {name: getattr(self, name) for name in ("path", "kind", "bytes", "sha256", "sidecar", "ports_from")}
        return values | {
            "signature": dict(self.signature),
            "card": self.card.to_dict() if self.card else None,
            "inputs": [asdict(port) for port in self.inputs],
            "outputs": [asdict(port) for port in self.outputs],
            "built_by": dict(self.built_by),
            "details": dict(self.details),
        }


def ports_of_card(card: ModelCard) -> tuple[Port, Port]:
    """The image and the answer of an engine, as its card promises them; sides that vary have names."""
    from dlcv.runtime.sessions.base import head_output

    dtype, fixed = head_output(card)
    sides: tuple[int | str, ...] = card.input_size_hw
    answer: tuple[int | str, ...] = fixed
    if card.size_range is not None:
        sides = ("height", "width")
        answer = (*fixed[:-2], *sides)
    return Port("image", "uint8", ("N", *sides, 3)), Port(card.head, dtype.name, ("N", *answer))
