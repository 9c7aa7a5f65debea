"""A session that needs no engine and does as it is told: it fails on an image, runs out of memory, hangs, counts its calls."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import EngineError, OutOfMemory
from dlcv.runtime.sessions.base import Session

SIDE = 8
BAD = 200
"""The red of an image that breaks every batch it is in."""
Image = NDArray[np.uint8]


class StandIn(Session):
    """Its mask is the red channel.

    Args:
        fits: the largest batch for which there is memory; None: any.
        fits_at_once: how many callers may be inside before memory runs out.
        dead_from: the call from which every batch fails.
        before: called with each batch before it is answered.
    """

    def __init__(
        self, *, parallel: int = 1, device: str = "cpu", fits: int | None = None, fits_at_once: int | None = None,
        dead_from: int | None = None, before: Callable[[Image], None] = lambda images: None,
    ) -> None:  # fmt: skip
        self.card = ModelCard(
            model="red", task="segmentation", classes=("a", "b"), palette=((0, 0, 0), (1, 1, 1)), input_size_hw=(SIDE, SIDE),
            mean_rgb=(0.0, 0.0, 0.0), std_rgb=(1.0, 1.0, 1.0), head="mask",
        )  # fmt: skip
        self.description, self.parallel, self.device = "stand-in", parallel, device
        self._fits, self._at_once, self._dead_from, self._before = fits, fits_at_once, dead_from, before
        self.batches: list[int] = []
        self._inside, self._lock = 0, threading.Lock()

    def _run(self, images: Image) -> dict[str, NDArray[Any]]:
        with self._lock:
            self.batches.append(len(images))
            self._inside += 1
            call, inside = len(self.batches), self._inside
        try:
            self._before(images)
            if self._fits is not None and len(images) > self._fits:
                raise OutOfMemory(f"no memory for {len(images)}")
            if self._at_once is not None and inside > self._at_once:
                raise OutOfMemory(f"no memory for {inside} at once")
            if self._dead_from is not None and call >= self._dead_from:
                raise EngineError("the device has gone")
            if (images[..., 0] == BAD).any():
                raise EngineError("an illegal memory access")
            return {"mask": images[..., 0].copy()}
        finally:
            with self._lock:
                self._inside -= 1


def tile_image(tile: int) -> Image:
    """uint8 (8, 8, 3), all of it the tile's number."""
    return np.full((SIDE, SIDE, 3), tile, np.uint8)
