"""Fitting: an identity "model" gives the tile itself, and each pixel comes from the window in whose middle it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import TileError, UsageError
from dlcv.runtime.fitting.fitting import FITS, centre_crop, fit_tile, fit_to_card

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
    # blended, up to a hundred float32 products are summed, each and each sum rounded by at most 6e-8; seen: 1.01e-6
    np.testing.assert_allclose(joined, image.transpose(2, 0, 1), rtol=6e-6)


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


def segmenter(size_hw: tuple[int, int]) -> ModelCard:
    return ModelCard(
        model="fcn8s", task="segmentation", classes=("a", "b"), palette=((0, 0, 0), (9, 9, 9)), input_size_hw=size_hw,
        mean_rgb=(0.0, 0.0, 0.0), std_rgb=(1.0, 1.0, 1.0), head="probs",
    )  # fmt: skip


def vignetted(window: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A stand-in model whose answer depends on where a pixel stands in its window, as a network's does near borders.

    float32 (2, H, W): what the image says, 0..1, moved towards the left (and the top) by up to 0.2.
    """
    height, width = window.shape[:2]
    said = window[..., 0].astype(np.float32) / 255 * 0.6 + 0.2
    place = np.linspace(-0.2, 0.2, width, dtype=np.float32) + np.linspace(-0.1, 0.1, height, dtype=np.float32)[:, None]
    return np.stack([said + place, 1 - said - place])


def on_grid(image: NDArray[np.uint8], shift: int, blend: bool) -> NDArray[np.float32]:
    """Its probabilities with the grid of windows shifted by so many pixels, both ways, in the middle that all shifts share."""
    side, most = 64, 24
    part = image[most - shift :, most - shift :]
    fitted = fit_to_card(part, segmenter((side, side)), overlap=0.5, blend=blend)
    joined = fitted.join([vignetted(window) for window in fitted.windows])
    return np.asarray(joined[:, shift:, shift:][:, side:-side, side:-side])


def steepest(probs: NDArray[np.float32]) -> float:
    """The largest step between neighbouring pixels, 0..1."""
    return max(float(np.abs(np.diff(probs, axis=axis)).max()) for axis in (1, 2))


def test_blending_leaves_no_seam_wherever_the_grid_lies() -> None:
    image = np.full((400, 410, 3), 128, np.uint8)  # nothing to see: each step in the answer is a seam
    blended, cut = ([on_grid(image, shift, blend) for shift in (0, 5, 16, 24)] for blend in (True, False))
    # the stand-in's own slope is 0.4 / 63 a pixel; the weights' is at most pi / 2 over an overlap of 32, times 0.2 of difference
    bound = 0.4 / 63 + np.pi / 2 / 32 * 0.2 + 0.001
    assert max(map(steepest, blended)) <= bound < 0.02
    assert min(map(steepest, cut)) > 0.1  # half a window's worth of the stand-in's 0.4
    # and a pixel's answer depends less on where the grid lies
    shift_of_blended, shift_of_cut = (
        max(float(np.abs(other - first).max()) for other in rest) for first, *rest in (blended, cut)
    )
    assert shift_of_blended < 0.75 * shift_of_cut


def test_blended_masks_change_less_when_the_grid_is_shifted() -> None:
    noise = np.random.default_rng(3).integers(0, 256, (40, 41), dtype=np.uint8)
    image = np.repeat(np.repeat(noise, 10, 0), 10, 1)[..., None].repeat(3, 2)
    changed = {}
    for blend in (True, False):
        first, *others = (on_grid(image, shift, blend).argmax(0) for shift in (0, 5, 16, 24))
        changed[blend] = max(float(np.mean(first != other)) for other in others)
    assert changed[True] <= 0.06 < changed[False]


def test_edges_and_smaller_images_are_covered() -> None:
    for size in [(1, 1), (3, 90), (64, 64), (65, 64), (40, 129), (191, 193)]:
        fitted = fit_to_card(np.full((*size, 3), 200, np.uint8), segmenter((64, 64)), overlap=0.25)
        joined = fitted.join([np.full((2, 64, 64), 0.5, np.float32) for _ in fitted.windows])
        assert joined.shape == (2, *size)
        np.testing.assert_allclose(joined, 0.5, rtol=1e-6)  # weights sum to 1, up to float32's rounding


@pytest.mark.parametrize("tta", ["flips", "full"])
@pytest.mark.parametrize("size", [(32, 32), (20, 32), (50, 70)])
def test_an_equivariant_model_says_the_same_with_tta(tta: str, size: tuple[int, int]) -> None:
    def equivariant(window: NDArray[np.uint8]) -> NDArray[np.float32]:
        said = window[..., 0].astype(np.float32) / 255
        return np.stack([said, 1 - said])

    image = tile(*size)
    plain = fit_to_card(image, segmenter((32, 32)))
    turned = fit_to_card(image, segmenter((32, 32)), tta=tta)
    assert len(turned.windows) == len(plain.windows) * {"flips": 4, "full": 8}[tta]
    expected = plain.join([equivariant(window) for window in plain.windows])
    answers = turned.join([equivariant(window) for window in turned.windows])
    np.testing.assert_allclose(answers, expected, atol=1e-6)  # a mean of equal values, in float32


def test_tta_averages_what_a_model_says_about_all_ways() -> None:
    image = np.full((64, 64, 3), 128, np.uint8)
    fitted = fit_to_card(image, segmenter((64, 64)), tta="flips")
    once = vignetted(image)
    expected = (once + once[:, :, ::-1] + once[:, ::-1] + once[:, ::-1, ::-1]) / 4
    answers = fitted.join([vignetted(window) for window in fitted.windows])
    np.testing.assert_allclose(answers, expected, atol=1e-6)
    np.testing.assert_allclose(answers[0], answers[0, 0, 0], atol=1e-6)  # the stand-in's slopes cancel
    assert np.ptp(once[0]) > 0.5
    full = fit_to_card(image, segmenter((64, 64)), tta="full")
    expected = sum(np.rot90(e, k, (1, 2)) for e in (once, once[:, :, ::-1]) for k in range(4)) / 8
    np.testing.assert_allclose(full.join([vignetted(w) for w in full.windows]), expected, atol=1e-6)


def test_a_classifiers_tta_is_the_mean_of_its_probabilities() -> None:
    fitted = fit_to_card(tile(50, 70), classifier((32, 32), 36), tta="flips")
    assert len(fitted.windows) == 4
    np.testing.assert_array_equal(fitted.windows[3], fitted.windows[0][::-1])
    answers = [np.array([p, 1 - p], np.float32) for p in (0.0, 0.5, 0.5, 1.0)]
    np.testing.assert_array_equal(fitted.join(answers), np.array([0.5, 0.5], np.float32))


def test_what_tta_refuses() -> None:
    with pytest.raises(
        UsageError, match=r"^--tta full turns by 90 degrees, the engine takes 32 x 48; pass --tta flips$"
    ):
        fit_to_card(tile(9, 9), segmenter((32, 48)), tta="full")
    with pytest.raises(UsageError, match="unknown tta 'some'; it is one of none, flips, full"):
        fit_to_card(tile(9, 9), segmenter((32, 32)), tta="some")
    fitted = fit_to_card(tile(9, 9), segmenter((32, 32)), tta="flips")
    with pytest.raises(ValueError, match="expected probabilities of turned windows, float32, got uint8"):
        fitted.join([np.zeros((32, 32), np.uint8)] * 4)
    with pytest.raises(ValueError, match="expected 4 results, one a window, got 1"):
        fitted.join([np.zeros((2, 32, 32), np.float32)])
