"""Sides of a tile: windows, cells and weights."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dlcv.runtime.fitting.blending import Side

LENGTH = st.integers(1, 200)
WINDOW = st.integers(1, 40)
OVERLAP = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 0.9])


@given(LENGTH, WINDOW, OVERLAP)
def test_weights_sum_to_one_at_every_pixel(length: int, window: int, overlap: float) -> None:
    side = Side.of(length, window, overlap)
    total = np.zeros(max(length, window))
    for start, weights in zip(side.starts, side.weights, strict=True):
        assert weights.shape == (window,)
        assert (weights > 0).all()
        total[start : start + window] += weights
    np.testing.assert_allclose(total, 1, atol=1e-6)  # float32's rounding, of a few windows


@given(LENGTH, WINDOW, OVERLAP)
def test_cells_divide_the_side_and_windows_are_made_of_them(length: int, window: int, overlap: float) -> None:
    side = Side.of(length, window, overlap)
    assert [pixel for begin, end in side.cells for pixel in range(begin, end)] == list(range(length))
    for start, covered in zip(side.starts, side.covered, strict=True):
        cells = [side.cells[number] for number in covered]
        assert (cells[0][0], cells[-1][1]) == (max(0, start - side.pad_before), min(length, start + window))


def test_weights_that_can_be_checked_by_eye() -> None:
    side = Side.of(12, 8, 0.5)  # windows at 0 and 4 share 4..7
    assert side.starts == (0, 4)
    assert side.cells == [(0, 4), (4, 8), (8, 12)]
    assert side.covered == [range(0, 2), range(1, 3)]
    rising = np.sin(np.pi / 2 * (np.arange(4) + 0.5) / 4) ** 2  # Hann, as sin^2
    np.testing.assert_allclose(side.weights[1], [*rising, 1, 1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(side.weights[0], [1, 1, 1, 1, *rising[::-1]], atol=1e-6)


@given(st.integers(60, 200), st.sampled_from([0.25, 0.5, 0.75, 0.9]))
def test_weights_end_without_a_step(length: int, overlap: float) -> None:
    side = Side.of(length, 40, overlap)
    for k, weights in enumerate(side.weights):
        padded = np.concatenate(
            [[0.0] if k else [weights[0]], weights, [0.0] if k + 1 < len(side.starts) else [weights[-1]]]
        )
        shared = min(s + 40 - t for s, t in zip(side.starts, side.starts[1:], strict=False))
        # a Hann ramp's steepest step is pi / 2 over its length; where more than two windows meet, their sum steepens it
        assert np.abs(np.diff(padded)).max() <= np.pi / shared
