"""One side of a tile and the windows along it: where they start, what each supplies, and with which weight.

Two ways to join what windows say. Cut: each pixel comes from the window in whose middle it is most. Blended: where windows
overlap their probabilities are averaged, each weighted by a raised cosine (Hann) that falls from 1 to 0 over the overlap, so that
a window's influence ends at its edge without a step. The weights of a pixel sum to 1; a pixel that one window alone covers
keeps that window's values.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Side:
    """One side of a tile, in pixels.

    Attributes:
        length: of the tile.
        window: length of each window.
        starts: where the windows start in the padded tile.
        pad_before: pixels of padding before the tile, where it is smaller than a window.
    """

    length: int
    window: int
    starts: tuple[int, ...]
    pad_before: int

    @classmethod
    def of(cls, length: int, window: int, overlap: float) -> Side:
        """Windows that overlap by a share of their length, the last one flush with the tile's end."""
        last = max(0, length - window)
        step = max(1, round(window * (1 - overlap)))
        return cls(length, window, (*range(0, last, step), last), max(0, window - length) // 2)

    @property
    def stretches(self) -> list[tuple[int, int, int]]:
        """Of a cut, for each window: begin and end in the tile, and where that begins in the window."""
        ends = [(a + self.window + b) // 2 for a, b in zip(self.starts, self.starts[1:], strict=False)] + [self.length]
        begins = [0, *ends[:-1]]
        return [(b, e, b - s + self.pad_before) for b, e, s in zip(begins, ends, self.starts, strict=True)]

    @cached_property
    def cells(self) -> list[tuple[int, int]]:
        """The tile's length cut where a window begins or ends: begin and end of each part."""
        edges = sorted({max(0, s - self.pad_before) for s in self.starts} | set(self._ends()))
        return list(pairwise(edges))

    @cached_property
    def covered(self) -> list[range]:
        """For each window: the cells that it covers, by their numbers."""
        begins = [begin for begin, _ in self.cells]
        ends = [end for _, end in self.cells]
        return [
            range(begins.index(max(0, s - self.pad_before)), ends.index(end) + 1)
            for s, end in zip(self.starts, self._ends(), strict=True)
        ]

    @cached_property
    def weights(self) -> list[NDArray[np.float32]]:
        """For each window: its weights, float32 (window,), 0..1; at each pixel of the tile all windows' sum to 1."""
        raw = [self._ramps(k) for k in range(len(self.starts))]
        total = np.zeros(max(self.length, self.window))
        for start, weights in zip(self.starts, raw, strict=True):
            total[start : start + self.window] += weights
        return [
            (weights / total[start : start + self.window]).astype(np.float32)
            for start, weights in zip(self.starts, raw, strict=True)
        ]

    def _ends(self) -> list[int]:
        return [min(self.length, s + self.window) for s in self.starts]

    def _ramps(self, k: int) -> NDArray[np.float64]:
        """Up over the overlap with the window before, down over that with the window after."""
        weights = np.ones(self.window)
        if k > 0 and (shared := self.starts[k - 1] + self.window - self.starts[k]) > 0:
            weights[:shared] *= _rising(shared)
        if k + 1 < len(self.starts) and (shared := self.starts[k] + self.window - self.starts[k + 1]) > 0:
            weights[-shared:] *= _rising(shared)[::-1]
        return weights


def _rising(length: int) -> NDArray[np.float64]:
    """The first half of a Hann window, at pixels' centres: from 0 to 1, both left out."""
    ramp: NDArray[np.float64] = 0.5 - 0.5 * np.cos(np.pi * (np.arange(length) + 0.5) / length)
    return ramp
