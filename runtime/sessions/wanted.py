"""What a session is opened with: the file, its card, and what the caller asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dlcv.runtime.card.card import ModelCard

DEVICES = ("auto", "cpu", "cuda")
SESSIONS = ("auto", "tensorrt", "onnxruntime-tensorrt", "onnxruntime", "openvino")
COMPUTES = ("card", "tf32", "fp16", "bf16")


@dataclass(frozen=True)
class Wanted:
    """What a session is opened with.

    Attributes:
        path: the engine's file.
        kind: `onnx` or `plan`.
        card: that it carries, at the size that is wanted.
        device: one of `DEVICES`.
        session: one of `SESSIONS`: the library; `auto` leaves it open.
        compute: one of `COMPUTES`: what a float32 graph may be computed in; `card`: what its card says.
        lanes: batches in flight on a CPU, each with its share of the cores.
        data: the file's bytes, where they were checked: then a library is given these, and no cache beside the file, which nothing
            vouches for, is read or written.
        host_code: whether code for the CPU inside a plan may be run, as version-compatible plans carry it.
    """

    path: Path
    kind: str
    card: ModelCard
    device: str = "auto"
    session: str = "auto"
    compute: str = "card"
    lanes: int = 1
    data: bytes | None = field(default=None, repr=False)
    host_code: bool = False

    @property
    def precision(self) -> str:
        """What was asked for: the card's, or less."""
        return self.card.precision if self.compute == "card" else self.compute
