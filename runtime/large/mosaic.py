"""What windows say, joined to the mask of the whole image, of which only the rows at work are in memory.

The image is divided where windows begin and end. Such a cell has a known number of windows: one that a single window covers is
decided at once, the others wait with the sum of their weighted probabilities until the last of their windows came. Decided
pixels are gathered in strips of whole rows, and a strip goes out when all of its pixels are there.

The sums are whole numbers (of 1/60000), so they do not depend on the order in which threads add: a run repeated gives the
same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.answers import Segmented, segmented_of
from dlcv.runtime.errors import TileError
from dlcv.runtime.fitting.blending import Side
from dlcv.runtime.raster.sureness import SCALE

STRIP_ROWS = 512
"""Of the mask; the blocks of the written file are as high."""
SURE = np.dtype([("index", np.uint8), ("confidence", np.uint16)])
"""A pixel's class, and its probability in steps of 1/`SCALE`: at least 1, and 0 where there is no data."""


class Strips:
    """Gathers rectangles of a mask to strips of whole rows; `put` may be called from several threads.

    Args:
        size_hw: of the mask, in pixels.
        write: takes the first row's number and the rows, (h, W); called once for each strip, in any order.
        kind: of the values: uint8, or `SURE`.
        done: first rows of the strips that are not wanted: what is put there is dropped.
    """

    def __init__(
        self,
        size_hw: tuple[int, int],
        write: Callable[[int, NDArray[Any]], None],
        kind: Any = np.uint8,
        done: Collection[int] = (),
    ) -> None:
        self._height, self._width = size_hw
        self._done = {top // STRIP_ROWS for top in done}
        self._kind = kind
        self._write, self._lock = write, Lock()
        self._strips: dict[int, NDArray[Any]] = {}
        self._missing: dict[int, int] = {}

    def put(self, top: int, left: int, values: NDArray[Any]) -> None:
        """Values (h, w), at a place that nothing was put to before."""
        height, width = values.shape
        for number in self._wanted(top, top + height):
            first = number * STRIP_ROWS
            begin, end = max(top, first), min(top + height, first + STRIP_ROWS)
            self._strip(number)[begin - first : end - first, left : left + width] = values[begin - top : end - top]
            with self._lock:
                self._missing[number] -= (end - begin) * width
                whole = self._strips.pop(number) if self._missing[number] == 0 else None
            if whole is not None:
                self._write(first, whole)

    def want(self, begin: int, end: int) -> bool:
        """Whether any of these rows are of a strip that is wanted."""
        return next(self._wanted(begin, end), None) is not None

    def _wanted(self, begin: int, end: int) -> Iterator[int]:
        """Numbers of the strips."""
        return (n for n in range(begin // STRIP_ROWS, (end - 1) // STRIP_ROWS + 1) if n not in self._done)

    def _strip(self, number: int) -> NDArray[Any]:
        with self._lock:
            if number not in self._strips:
                rows = min(STRIP_ROWS, self._height - number * STRIP_ROWS)
                self._strips[number] = np.empty((rows, self._width), self._kind)
                self._missing[number] = rows * self._width
            return self._strips[number]


class Mosaic:
    """Takes windows' answers, in any order and from several threads.

    Args:
        rows, columns: where the windows are.
        write: see `Strips`.
        nodata: what stands in the mask where the image holds no data; None: what the model says.
        blend: blend probabilities; masks, and probabilities without it, are cut at the middle of overlaps.
        sure: tell each pixel's confidence, too: `write` takes `SURE`, and no answer may be a mask alone.
        done: see `Strips`.

    Attributes:
        rows_left: the rows of windows that touch a strip that is wanted; windows of the others are not to be added.
    """

    def __init__(
        self,
        rows: Side,
        columns: Side,
        write: Callable[[int, NDArray[Any]], None],
        *,
        nodata: int | None,
        blend: bool = True,
        sure: bool = False,
        done: Collection[int] = (),
    ) -> None:
        self._rows, self._columns, self._nodata, self._blend, self._sure = rows, columns, nodata, blend, sure
        self._strips = Strips((rows.length, columns.length), write, SURE if sure else np.uint8, done)
        self._lock = Lock()
        self._sums: dict[tuple[int, int], NDArray[np.uint16] | None] = {}
        self._left: dict[tuple[int, int], int] = {}
        tops = [max(0, start - rows.pad_before) for start in rows.starts]
        self.rows_left = [
            row for row, top in enumerate(tops) if self._strips.want(top, min(rows.length, top + rows.window))
        ]
        self._windows = len(self.rows_left) * len(columns.starts)
        self._over_rows, self._over_columns = _times_covered(rows), _times_covered(columns)

    def add(self, row: int, column: int, answer: NDArray[Any] | None, valid: NDArray[np.bool_] | None) -> bool:
        """Takes the answer about one window.

        Args:
            row, column: of the window.
            answer: as `segmented_of` takes it: a mask, one with confidence, or probabilities; None where no pixel holds data.
            valid: which of the image's pixels in the window hold data, bool; None: all.

        Returns:
            True when it was the last window, and everything has been written.

        Raises:
            TileError: when a probability is not a number from 0 to 1.
        """
        if not self._blend or (answer is not None and answer.ndim == 2):
            self._cut(row, column, answer, valid)
        else:
            self._blended(row, column, answer, valid)
        with self._lock:
            self._windows -= 1
            return self._windows == 0

    def _cut(self, row: int, column: int, answer: NDArray[Any] | None, valid: NDArray[np.bool_] | None) -> None:
        values = None if answer is None else self._values(segmented_of(answer))
        top, bottom, y = self._rows.stretches[row]
        left, right, x = self._columns.stretches[column]
        place = (slice(y, y + bottom - top), slice(x, x + right - left))
        self._decide(row, column, (top, left), place, None if values is None else values[place], valid)

    def _values(self, said: Segmented) -> NDArray[Any]:
        """uint8 (h, w), or `SURE`."""
        if not self._sure:
            return said.mask
        assert said.confidence is not None, "whoever wants the confidence asks for probabilities"
        _refuse_no_probabilities(said.confidence)
        return _sure(said.mask, said.confidence * np.float32(SCALE))

    def _blended(
        self, row: int, column: int, probs: NDArray[np.float32] | None, valid: NDArray[np.bool_] | None
    ) -> None:
        if probs is not None:
            _refuse_no_probabilities(probs)
        for r in self._rows.covered[row]:
            if not self._strips.want(*self._rows.cells[r]):  # its other windows may never come
                continue
            for c in self._columns.covered[column]:
                place = self._place(row, column, r, c)
                corner = (self._rows.cells[r][0], self._columns.cells[c][0])
                part = None if probs is None else probs[:, place[0], place[1]]
                if self._over_rows[r] * self._over_columns[c] == 1:
                    values = None if part is None else self._of_scores(part, np.float32(SCALE))
                    self._decide(row, column, corner, place, values, valid)
                    continue
                weighted = None if part is None else self._weighted(row, column, place, part)
                done, total = self._add((r, c), weighted)
                if done:
                    values = None if total is None else self._of_scores(total, np.float32(1))
                    self._decide(row, column, corner, place, values, valid)

    def _of_scores(self, scores: NDArray[Any], scale: np.float32) -> NDArray[Any]:
        indices, best = _largest(scores)
        return _sure(indices, best * scale) if self._sure else indices

    def _place(self, row: int, column: int, r: int, c: int) -> tuple[slice, slice]:
        """Where a cell lies in a window."""
        return tuple(  # type: ignore[return-value]
            slice(begin - side.starts[k] + side.pad_before, end - side.starts[k] + side.pad_before)
            for side, k, (begin, end) in (
                (self._rows, row, self._rows.cells[r]),
                (self._columns, column, self._columns.cells[c]),
            )
        )

    def _weighted(
        self, row: int, column: int, place: tuple[slice, slice], part: NDArray[np.float32]
    ) -> NDArray[np.uint16]:
        weights = self._rows.weights[row][place[0], None] * self._columns.weights[column][place[1]]
        scaled = part * (weights * np.float32(SCALE))
        scaled += np.float32(0.5)  # rounds, as what follows cuts the fraction off
        return np.asarray(np.maximum(scaled, 0, out=scaled), np.uint16)

    def _add(
        self, cell: tuple[int, int], weighted: NDArray[np.uint16] | None
    ) -> tuple[bool, NDArray[np.uint16] | None]:
        """Adds to a cell's sum; True and the sum when it was the last one."""
        with self._lock:
            total = self._sums.get(cell)
            if weighted is not None:
                if total is None:
                    self._sums[cell] = weighted
                else:
                    total += weighted
            r, c = cell
            self._left[cell] = self._left.get(cell, int(self._over_rows[r] * self._over_columns[c])) - 1
            if self._left[cell]:
                return False, None
            del self._left[cell]
            return True, self._sums.pop(cell, None)

    def _decide(
        self,
        row: int,
        column: int,
        corner: tuple[int, int],
        place: tuple[slice, slice],
        values: NDArray[Any] | None,
        valid: NDArray[np.bool_] | None,
    ) -> None:
        """Puts a part of a window into the mask; `place` is the part's in the window, `corner` its in the image."""
        shape = (place[0].stop - place[0].start, place[1].stop - place[1].start)
        kind = SURE if self._sure else np.uint8
        nothing = np.array((self._nodata or 0, 0), SURE) if self._sure else np.array(self._nodata or 0, np.uint8)
        if values is None:
            values = np.full(shape, nothing, kind)
        elif valid is not None and self._nodata is not None:
            y = corner[0] - self._rows.starts[row]
            x = corner[1] - self._columns.starts[column]
            values = np.where(valid[y : y + shape[0], x : x + shape[1]], values, nothing)
        self._strips.put(*corner, values)


def _refuse_no_probabilities(values: NDArray[np.float32]) -> None:
    if not (values.min() >= -0.01 and values.max() <= 1.01):  # False for NaN, too
        raise TileError("the engine's probabilities are not numbers from 0 to 1; export the model again")


def _sure(indices: NDArray[np.uint8], scaled: NDArray[np.float32]) -> NDArray[Any]:
    """`SURE` (h, w) from the classes and their probabilities times `SCALE`."""
    values = np.empty(indices.shape, SURE)
    values["index"] = indices
    values["confidence"] = np.clip(np.rint(scaled), 1, SCALE)
    return values


def _largest(scores: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """(C, h, w) -> uint8 (h, w): the index of the largest, of equal ones the first; and that score."""
    indices, best = np.zeros(scores.shape[1:], np.uint8), scores[0].copy()
    for index in range(1, len(scores)):
        better = scores[index] > best
        np.maximum(indices, better.view(np.uint8) * np.uint8(index), out=indices)  # the index only grows
        np.maximum(best, scores[index], out=best)
    return indices, best


def _times_covered(side: Side) -> NDArray[np.int64]:
    """For each cell of a side, by how many windows it is covered."""
    times = np.zeros(len(side.cells), np.int64)
    for covered in side.covered:
        times[covered.start : covered.stop] += 1
    return times
