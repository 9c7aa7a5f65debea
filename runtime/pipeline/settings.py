"""How a pipeline is laid out."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_OVERLAP = 0.25
"""Of windows, as a share of their side."""


@dataclass(frozen=True)
class PipelineSettings:
    """Batch, threads, fitting and patience.

    Attributes:
        batch: windows that go through the session at once; fewer when memory runs out.
        decoders: threads that read and fit tiles.
        writers: threads that finish tiles.
        fit: see `fitting.py`; None takes the card's.
        overlap: of neighbouring windows, as a share of the window's side.
        blend, tta: see `fit_to_card`; they are of use where `answers` gives probabilities.
        tile_timeout_s: a tile whose reading takes longer is put aside, in seconds; None waits for ever.
        session_timeout_s: a session that takes longer for a batch is opened anew where it can be, else the run ends; in
            seconds; None waits for ever.
    """

    batch: int = 1
    decoders: int = 1
    writers: int = 1
    fit: str | None = None
    overlap: float = DEFAULT_OVERLAP
    blend: bool = False
    tta: str = "none"
    tile_timeout_s: float | None = None
    session_timeout_s: float | None = None
