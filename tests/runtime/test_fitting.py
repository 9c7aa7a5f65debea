"""Fitting: an identity "model" gives the tile itself, and each pixel comes from the window in whose middle it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dlcv.runtime.card import ModelCard
from dlcv.runtime.errors import TileError, UsageError
from dlcv.runtime.fitting import FITS, centre_crop, fit_tile, fit_to_card

SIDE = st.integers(1, 70)
WINDOW = st.integers(1, 24)


def tile(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(SIDE, SIDE, WINDOW, WINDOW, st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9]))
def test_identity_through_windows(height: int, width: int, rows: int, columns: int, overlap: float) -> None:
    image = tile(height, width)
    fitted = fit_tile(image, (rows, columns), "windows", overlap)
    assert all(window.shape == (rows, columns, 3) and window.dtype == np.uint8 for window in fitted.windows)
    np.testing.assert_array_equal(fitted.join([window[..., 0] for window in fitted.windows]), image[..., 0])
    floats = [window.transpose(2, 0, 1).astype(np.float32) for window in fitted.windows]
    joined = fitted.join(floats)
    assert joined.dtype == np.float32
    np.testing.assert_array_equal(joined, image.transpose(2, 0, 1))


@given(st.integers(1, 16), st.integers(1, 16))
def test_identity_through_padding(height: int, width: int) -> None:
    image = tile(height, width)
    fitted = fit_tile(image, (16, 16), "pad")
    assert len(fitted.windows) == 1
    np.testing.assert_array_equal(fitted.join([fitted.windows[0][..., 1]]), image[..., 1])


@given(SIDE, WINDOW, st.sampled_from([0.0, 0.25, 0.5, 0.8]))
def test_each_pixel_comes_from_the_window_whose_middle_is_nearest(length: int, window: int, overlap: float) -> None:
    fitted = fit_tile(tile(1, length), (1, window), "windows", overlap)
    source = fitted.join([np.full((1, window), i, np.int32) for i in range(len(fitted.windows))])[0]
    place = fitted.join([np.arange(window, dtype=np.int32)[None] for _ in fitted.windows])[0]
    if length <= window:
        return
    starts = np.arange(length) - place  # where the window that supplied each pixel starts
    all_starts = sorted(set(starts.tolist()))
    assert len(all_starts) == len(fitted.windows)
    assert all_starts[0] == 0
    assert all_starts[-1] == length - window
    assert (np.diff(source) >= 0).all()
    to_middle = np.abs(2 * np.arange(length)[:, None] - (2 * np.array(all_starts)[None] + window - 1))
    np.testing.assert_array_equal(to_middle[np.arange(length), source], to_middle.min(axis=1))


def test_windows_that_can_be_checked_by_eye() -> None:
    fitted = fit_tile(tile(4, 11), (4, 6), "windows", overlap=1 / 3)  # windows start at 0, 4, 5
    source = fitted.join([np.full((4, 6), i, np.uint8) for i in range(3)])
    assert len(fitted.windows) == 3
    assert source[0].tolist() == [0, 0, 0, 0, 0, 1, 1, 2, 2, 2, 2]


@pytest.mark.parametrize(
    ("size", "windows"),
    [((512, 512), 1), ((513, 512), 2), ((896, 896), 4), ((897, 896), 6), ((300, 1000), 3), ((1, 1), 1)],
)
def test_number_of_windows(size: tuple[int, int], windows: int) -> None:
    assert len(fit_tile(np.zeros((*size, 3), np.uint8), (512, 512), "windows", 0.25).windows) == windows


@pytest.mark.parametrize("fit", FITS)
def test_a_tile_that_fits_is_not_copied(fit: str) -> None:
    image, mask = tile(8, 12), np.zeros((8, 12), np.uint8)
    fitted = fit_tile(image, (8, 12), fit)
    assert len(fitted.windows) == 1
    assert np.shares_memory(fitted.windows[0], image)
    assert fitted.windows[0].flags.c_contiguous
    assert fitted.join([mask]) is mask


def test_large_windows_are_views() -> None:
    image = tile(40, 40)
    assert all(np.shares_memory(window, image) for window in fit_tile(image, (16, 16), "windows").windows)


@pytest.mark.parametrize(("height", "width"), [(9, 16), (1, 3), (2, 1), (5, 7)])
def test_padding_reflects_as_numpy_does(height: int, width: int) -> None:
    image = tile(height, width)
    top, left = (16 - height) // 2, (16 - width) // 2
    around = ((top, 16 - height - top), (left, 16 - width - left), (0, 0))
    np.testing.assert_array_equal(fit_tile(image, (16, 16), "pad").windows[0], np.pad(image, around, mode="reflect"))


def test_pad_refuses_a_larger_tile() -> None:
    with pytest.raises(TileError) as caught:
        fit_tile(np.zeros((700, 900, 3), np.uint8), (512, 512), "pad")
    assert str(caught.value) == "tile is 700 x 900, the engine takes 512 x 512; pass --fit windows"


@pytest.mark.parametrize("size", [(8, 8), (40, 10), (10, 40), (64, 64), (33, 31)])
def test_resize_gives_the_engines_size_and_the_tiles_back(size: tuple[int, int]) -> None:
    fitted = fit_tile(np.full((*size, 3), 9, np.uint8), (32, 32), "resize")
    assert [window.shape for window in fitted.windows] == [(32, 32, 3)]
    assert (fitted.windows[0] == 9).all()
    assert fitted.join([np.zeros((32, 32), np.uint8)]).shape == size
    assert fitted.join([np.zeros((5, 32, 32), np.float32)]).shape == (5, *size)


def test_resize_averages_when_it_shrinks_and_repeats_when_it_goes_back() -> None:
    image = np.array([[[0] * 3, [100] * 3, [200] * 3, [100] * 3]] * 2, np.uint8)  # (2, 4, 3)
    fitted = fit_tile(image, (1, 2), "resize")
    assert fitted.windows[0][0, :, 0].tolist() == [50, 150]
    assert fitted.join([np.array([[3, 7]], np.uint8)]).tolist() == [[3, 3, 7, 7]] * 2


def test_nearest_takes_the_value_at_the_centre() -> None:
    fitted = fit_tile(np.zeros((1, 2, 3), np.uint8), (1, 6), "resize")
    # pixel 0 of 2 covers 0..3 of 6: its centre, 1.5, lies in value 1; corners would give 0 and 3
    assert fitted.join([np.arange(6, dtype=np.uint8)[None]]).tolist() == [[1, 4]]


def test_join_checks_what_it_gets() -> None:
    fitted = fit_tile(tile(20, 20), (16, 16), "windows")
    with pytest.raises(ValueError, match="expected 4 results, one a window, got 1"):
        fitted.join([np.zeros((16, 16), np.uint8)])
    with pytest.raises(ValueError, match=r"expected results \(..., 16, 16\) of one shape, got \(16, 15\)"):
        fitted.join([np.zeros((16, 15), np.uint8)] * 4)


def test_an_unknown_fit_and_an_overlap_out_of_range() -> None:
    with pytest.raises(UsageError, match="unknown fit 'crop'; it is one of windows, pad, resize"):
        fit_tile(tile(4, 4), (4, 4), "crop")
    with pytest.raises(UsageError, match="the overlap of windows is 1, expected 0 or more and less than 1"):
        fit_tile(tile(4, 4), (4, 4), "windows", 1.0)


def classifier(size_hw: tuple[int, int], short_side: int) -> ModelCard:
    return ModelCard(
        model="resnet18", task="classification", classes=("a", "b"), palette=(), input_size_hw=size_hw, fit="centre-crop",
        short_side=short_side, mean_rgb=(0.0, 0.0, 0.0), std_rgb=(1.0, 1.0, 1.0), head="probs",
    )  # fmt: skip


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 32), st.integers(1, 32), st.integers(0, 40))
def test_a_crop_always_has_the_size(height: int, width: int, rows: int, columns: int, more: int) -> None:
    crop = centre_crop(tile(height, width), (rows, columns), max(rows, columns) + more, "area")
    assert crop.shape == (rows, columns, 3) and crop.dtype == np.uint8


@pytest.mark.parametrize(("height", "width", "top", "left"), [(16, 16, 2, 2), (16, 40, 2, 14), (33, 16, 10, 2)])
def test_the_middle_is_taken_and_nothing_scaled(height: int, width: int, top: int, left: int) -> None:
    image = tile(height, width)
    crop = centre_crop(image, (12, 12), 16, "area")
    assert np.array_equal(crop, image[top : top + 12, left : left + 12])
    assert np.shares_memory(crop, image)


def test_the_shorter_side_decides_the_scale() -> None:
    image = np.zeros((64, 128, 3), np.uint8)
    image[:, 32:96] = 200  # the middle square: all that is kept at a crop as large as the shorter side
    assert (centre_crop(image, (32, 32), 32, "area") == 200).all()
    assert (centre_crop(image, (32, 34), 34, "area")[:, [0, -1]] == 200).all()


def test_area_averages_what_shrinks() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image[::2] = 100  # rows of 100 and 0
    assert (centre_crop(image, (4, 4), 4, "area") == 50).all()


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_the_card_names_the_interpolation(interpolation: str) -> None:
    image = tile(20, 20)
    assert not np.array_equal(centre_crop(image, (9, 9), 9, interpolation), centre_crop(image, (9, 9), 9, "area"))


def test_a_very_long_image_costs_no_more_than_what_is_kept() -> None:
    image = np.zeros((2, 2_000_000, 3), np.uint8)  # scaled whole, it would hold 112 million columns
    assert centre_crop(image, (112, 112), 112, "area").shape == (112, 112, 3)


def test_a_classifier_sees_one_window_and_its_answer_is_the_images() -> None:
    fitted = fit_to_card(tile(50, 70), classifier((32, 32), 36))
    assert [window.shape for window in fitted.windows] == [(32, 32, 3)] and fitted.tile_hw == (50, 70)
    answer = np.array([0.25, 0.75], np.float32)
    assert fitted.join([answer]) is answer
    with pytest.raises(ValueError, match="expected 1 results, one a window, got 2"):
        fitted.join([answer, answer])


def test_a_fit_for_masks_is_refused_for_a_classifier() -> None:
    with pytest.raises(
        UsageError, match=r"fit 'windows' is for segmentation; resnet18 classifies and takes its card's centre-crop"
    ):
        fit_to_card(tile(50, 70), classifier((32, 32), 36), fit="windows")
