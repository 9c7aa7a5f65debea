"""Windows' answers joined strip by strip are what they are when joined in memory."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dlcv.runtime.errors import TileError
from dlcv.runtime.fitting.blending import Side
from dlcv.runtime.fitting.fitting import fit_tile
from dlcv.runtime.large import mosaic as module
from dlcv.runtime.large.mosaic import Mosaic

SIZE = st.tuples(st.integers(1, 90), st.integers(1, 90))
OVERLAP = st.sampled_from([0.0, 0.25, 0.5, 0.8])


class Kept:
    """Rows as they are written."""

    def __init__(self, size_hw: tuple[int, int]) -> None:
        self.mask = np.full(size_hw, 77, np.uint8)
        self.tops: list[int] = []

    def __call__(self, top: int, rows: NDArray[np.uint8]) -> None:
        assert (self.mask[top : top + len(rows)] == 77).all()
        self.mask[top : top + len(rows)] = rows
        self.tops.append(top)


def answers(count: int, side: int, seed: int) -> list[NDArray[np.float32]]:
    raw = np.random.default_rng(seed).random((count, 3, side, side), np.float32) + 0.01
    return list(raw / raw.sum(1, keepdims=True))


def joined(
    size: tuple[int, int],
    overlap: float,
    given: list[NDArray[np.float32]] | list[NDArray[np.uint8]],
    seed: int = 0,
    blend: bool = True,
) -> NDArray[np.uint8]:
    rows, columns = (Side.of(length, 24, overlap) for length in size)
    kept = Kept(size)
    mosaic = Mosaic(rows, columns, kept, nodata=255, blend=blend)
    order = [(r, c) for r in range(len(rows.starts)) for c in range(len(columns.starts))]
    places = list(zip(order, given, strict=True))
    random.Random(seed).shuffle(places)
    ends = [mosaic.add(row, column, answer, None) for (row, column), answer in places]
    assert ends == [False] * (len(ends) - 1) + [True]
    assert sorted(kept.tops) == list(range(0, size[0], module.STRIP_ROWS))
    return kept.mask


@pytest.fixture(autouse=True)
def low_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STRIP_ROWS", 16)


@settings(deadline=None, max_examples=60)  # hundreds of windows in some
@given(SIZE, OVERLAP, st.integers(0, 3))
def test_blended_as_in_memory(size: tuple[int, int], overlap: float, seed: int) -> None:
    fitted = fit_tile(np.zeros((*size, 3), np.uint8), (24, 24), "windows", overlap)
    given = answers(len(fitted.windows), 24, seed)
    probs = fitted.join(given)
    mask = joined(size, overlap, given, seed)
    first, second = np.sort(probs, axis=0)[[-1, -2]]
    # sums of 1/60000: of up to 25 windows, each rounded by half of it
    assert ((mask == probs.argmax(0)) | (first - second < 25 / module.SCALE)).all()


@settings(deadline=None, max_examples=60)  # hundreds of windows in some
@given(SIZE, OVERLAP, st.booleans())
def test_cut_as_in_memory(size: tuple[int, int], overlap: float, masks: bool) -> None:
    fitted = fit_tile(np.zeros((*size, 3), np.uint8), (24, 24), "windows", overlap)
    given = [probs.argmax(0).astype(np.uint8) for probs in answers(len(fitted.windows), 24, 5)]
    expected = fitted.join(given)
    if masks:
        np.testing.assert_array_equal(joined(size, overlap, given), expected)
    else:
        np.testing.assert_array_equal(joined(size, overlap, answers(len(fitted.windows), 24, 5), blend=False), expected)


def test_the_order_of_windows_does_not_matter() -> None:
    given = answers(36, 24, 1)
    given = [np.round(probs, 1) for probs in given]  # many near ties
    first = joined((100, 100), 0.35, given, seed=0)
    for seed in range(1, 6):
        np.testing.assert_array_equal(joined((100, 100), 0.35, given, seed), first)


def test_pixels_without_data() -> None:
    size = (40, 60)
    rows, columns = Side.of(40, 24, 0.25), Side.of(60, 24, 0.25)
    hole = np.ones(size, np.bool_)
    hole[:30, :35] = False
    for blend in (True, False):
        kept = Kept(size)
        mosaic = Mosaic(rows, columns, kept, nodata=255, blend=blend)
        for r, y in enumerate(rows.starts):
            for c, x in enumerate(columns.starts):
                valid = hole[y : y + 24, x : x + 24]
                answer = np.zeros((2, 24, 24), np.float32)
                answer[1] = 1
                mosaic.add(r, c, answer if valid.any() else None, None if valid.all() else valid)
        np.testing.assert_array_equal(kept.mask, np.where(hole, 1, 255))


@settings(deadline=None, max_examples=20)  # hundreds of windows in some
@given(SIZE, OVERLAP, st.booleans())
def test_confidence_as_in_memory(size: tuple[int, int], overlap: float, blend: bool) -> None:
    fitted = fit_tile(np.zeros((*size, 3), np.uint8), (24, 24), "windows", overlap)
    given = answers(len(fitted.windows), 24, 3)
    rows, columns = (Side.of(length, 24, overlap) for length in size)
    kept, plain = np.zeros(size, module.SURE), Kept(size)

    def keep(top: int, strip: NDArray[Any]) -> None:
        kept[top : top + len(strip)] = strip

    hole = np.random.default_rng(0).random(size) < 0.1
    for write, sure in ((keep, True), (plain, False)):
        mosaic = Mosaic(rows, columns, write, nodata=255, blend=blend, sure=sure)
        for number, answer in enumerate(given):
            row, column = divmod(number, len(columns.starts))
            y, x = rows.starts[row], columns.starts[column]
            mosaic.add(row, column, answer, ~hole[y : y + 24, x : x + 24])
    np.testing.assert_array_equal(kept["index"], plain.mask)
    assert (kept["confidence"][hole] == 0).all()
    probs = fitted.join(given) if blend else None
    if probs is not None:
        # as above: up to 25 windows, each rounded by half a step
        assert np.abs(kept["confidence"] / module.SCALE - probs.max(0))[~hole].max(initial=0) < 25 / module.SCALE
    else:
        assert (kept["confidence"][~hole] > 0).all()


def test_what_is_no_probability_is_refused() -> None:
    side = Side.of(24, 24, 0)
    for wrong in (np.nan, 7.5, -3):
        with pytest.raises(TileError, match="probabilities are not numbers from 0 to 1; export the model again"):
            Mosaic(side, side, Kept((24, 24)), nodata=255).add(0, 0, np.full((2, 24, 24), wrong, np.float32), None)


def test_only_the_rows_at_work_are_held() -> None:
    """In row order, no more waits than the cells of two rows of windows, and two strips."""
    size = (2000, 120)
    rows, columns = Side.of(2000, 24, 0.25), Side.of(120, 24, 0.25)
    mosaic = Mosaic(rows, columns, Kept(size), nodata=255)
    most_cells = most_strips = 0
    for r in range(len(rows.starts)):
        for c in range(len(columns.starts)):
            mosaic.add(r, c, np.full((2, 24, 24), 0.5, np.float32), None)
            most_cells = max(most_cells, sum(0 if s is None else s.size for s in mosaic._sums.values()))
            most_strips = max(most_strips, len(mosaic._strips._strips))
    assert most_cells <= 2 * 2 * 24 * 120
    assert most_strips <= 3
    assert not mosaic._sums and not mosaic._strips._strips


@settings(deadline=None, max_examples=40)
@given(SIZE, OVERLAP, st.sets(st.integers(0, 5)), st.booleans(), st.integers(0, 3))
def test_what_is_done_waits_for_nothing(
    size: tuple[int, int], overlap: float, numbers: set[int], blend: bool, seed: int
) -> None:
    """Strips that an earlier run wrote are not written again, the others come as ever, and no sum waits for a window that is not asked for."""
    rows, columns = (Side.of(length, 24, overlap) for length in size)
    tops = set(range(0, size[0], module.STRIP_ROWS))
    done = {number * module.STRIP_ROWS for number in numbers} & tops
    given = answers(len(rows.starts) * len(columns.starts), 24, seed)
    whole, kept = joined(size, overlap, given, blend=blend), Kept(size)
    mosaic = Mosaic(rows, columns, kept, nodata=255, blend=blend, done=done)
    order = [(r, c) for r in range(len(rows.starts)) for c in range(len(columns.starts))]
    places = [(place, answer) for place, answer in zip(order, given, strict=True) if place[0] in mosaic.rows_left]
    random.Random(seed).shuffle(places)
    ends = [mosaic.add(row, column, answer, None) for (row, column), answer in places]
    assert ends == [False] * (len(ends) - 1) + [True] * bool(places)
    assert set(kept.tops) == tops - done
    for top in kept.tops:
        np.testing.assert_array_equal(kept.mask[top : top + module.STRIP_ROWS], whole[top : top + module.STRIP_ROWS])
    assert not mosaic._sums
    assert not mosaic._left
    assert not mosaic._strips._strips
