"""Crops and flips. Of tiles, image and label move together, which is seen by writing each pixel's place into both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dlcv.runtime.errors import UsageError
from dlcv.runtime.fitting.fitting import centre_crop
from dlcv.train.data.augment import ASPECT, Augmentation, _random_area, augment_image, augment_tile


def placed(height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """An image whose channels are row, column and 7, and a label that is a function of both."""
    rows, columns = np.indices((height, width))
    image = np.stack([rows, columns, np.full_like(rows, 7)], axis=-1).astype(np.uint8)
    return image, ((13 * rows + columns) % 251).astype(np.uint8)


@pytest.mark.parametrize(("height", "width", "crop"), [(40, 50, 16), (32, 32, 32), (20, 50, 32), (10, 12, 32)])
def test_image_and_label_move_together(height: int, width: int, crop: int) -> None:
    for seed in range(20):
        image, label = augment_tile(*placed(height, width), Augmentation(crop), np.random.default_rng(seed))
        assert image.shape == (crop, crop, 3) and label.shape == (crop, crop)
        assert image.dtype == label.dtype == np.uint8 and image.flags.c_contiguous and label.flags.c_contiguous
        assert np.array_equal(label, (13 * image[..., 0].astype(int) + image[..., 1]) % 251)
        assert (image[..., 2] == 7).all()


def test_a_smaller_tile_is_padded_by_reflection() -> None:
    image, label = placed(20, 24)
    seen, _ = augment_tile(image, label, Augmentation(32), np.random.default_rng(0))
    rows, columns = seen[:, 0, 0].astype(int), seen[0, :, 1].astype(int)
    expected_rows, expected_columns = [*range(20), *range(18, 6, -1)], [*range(24), *range(22, 14, -1)]
    assert rows.tolist() in (expected_rows, expected_rows[::-1])
    assert columns.tolist() in (expected_columns, expected_columns[::-1])


def test_all_four_flips_and_every_corner_occur() -> None:
    corners, flips = set(), set()
    for seed in range(200):
        image, _ = augment_tile(*placed(18, 18), Augmentation(16), np.random.default_rng(seed))
        rows, columns = image[:, 0, 0].astype(int), image[0, :, 1].astype(int)
        flips.add((bool(rows[0] > rows[-1]), bool(columns[0] > columns[-1])))
        corners.add((int(rows.min()), int(columns.min())))
    assert len(flips) == 4
    assert corners == {(y, x) for y in range(3) for x in range(3)}


def test_the_generator_decides_and_the_source_stays() -> None:
    image, label = placed(40, 40)
    before = image.copy(), label.copy()
    first = augment_tile(image, label, Augmentation(16), np.random.default_rng(5))
    second = augment_tile(image, label, Augmentation(16), np.random.default_rng(5))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    first[0][:] = 0
    assert np.array_equal(image, before[0]) and np.array_equal(label, before[1])


def test_the_crops_of_a_seed_are_those_of_ever() -> None:
    """A run that was begun earlier goes on with the same crops: drawn as row, column, flip of rows, flip of columns."""
    for seed in range(30):
        (image, label), rng = placed(40, 50), np.random.default_rng([7, 3, seed])
        y, x = int(rng.integers(40 - 16 + 1)), int(rng.integers(50 - 16 + 1))
        expected_image, expected_label = image[y : y + 16, x : x + 16], label[y : y + 16, x : x + 16]
        for axis in (0, 1):
            if rng.random() < 0.5:
                expected_image, expected_label = np.flip(expected_image, axis), np.flip(expected_label, axis)
        seen = augment_tile(image, label, Augmentation(16), np.random.default_rng([7, 3, seed]))
        assert np.array_equal(seen[0], expected_image) and np.array_equal(seen[1], expected_label)


@pytest.mark.parametrize(
    ("flips", "expected"),
    [
        ("both", {(False, False), (True, False), (False, True), (True, True)}),
        ("horizontal", {(False, False), (False, True)}),
        ("vertical", {(False, False), (True, False)}),
        ("none", {(False, False)}),
    ],
)
@pytest.mark.parametrize("augment", [augment_tile, augment_image])
def test_flips_are_of_the_axes_that_were_asked_for(
    augment: Callable[..., tuple[NDArray[np.uint8], NDArray[np.uint8]]], flips: str, expected: set[tuple[bool, bool]]
) -> None:
    found = set()
    for seed in range(60):
        image, _ = augment(*placed(18, 18), Augmentation(16, flips), np.random.default_rng(seed))
        rows, columns = image[:, 0, 0].astype(int), image[0, :, 1].astype(int)
        found.add((bool(rows[0] > rows[-1]), bool(columns[0] > columns[-1])))
    assert found == expected


@pytest.mark.parametrize("size_hw", [(64, 64), (48, 64), (64, 48), (200, 150), (33, 41)])
@pytest.mark.parametrize("least_area", [0.08, 0.35, 0.9])
def test_a_random_area_is_inside_large_enough_and_not_too_long(size_hw: tuple[int, int], least_area: float) -> None:
    """None of these images is longer than 4/3, so that the last resort is all of the image."""
    height, width = size_hw
    found = set()
    for seed in range(300):
        top, left, h, w = _random_area(height, width, least_area, np.random.default_rng(seed))
        assert 0 <= top <= top + h <= height and 0 <= left <= left + w <= width and min(h, w) > 0
        assert h * w >= least_area * height * width
        # each side is rounded by half a pixel at most
        assert (w - 0.5) / (h + 0.5) <= ASPECT and (h - 0.5) / (w + 0.5) <= ASPECT
        found.add((top, left, h, w))
    assert len(found) > (100 if least_area < 0.9 else 10)
    if least_area < 0.9:  # the whole range is drawn
        shares = [h * w / (height * width) for _, _, h, w in found]
        assert min(shares) < least_area + 0.1 and max(shares) > 0.85


@pytest.mark.parametrize("size_hw", [(64, 64), (48, 64), (64, 48), (40, 48)])
def test_a_least_area_of_one_takes_all(size_hw: tuple[int, int]) -> None:
    for seed in range(50):
        assert _random_area(*size_hw, 1.0, np.random.default_rng(seed)) == (0, 0, *size_hw)


@pytest.mark.parametrize(("size_hw", "middle"), [((30, 90), (0, 25, 30, 40)), ((90, 30), (25, 0, 40, 30))])
def test_the_middle_of_a_long_image_stands_in(size_hw: tuple[int, int], middle: tuple[int, int, int, int]) -> None:
    assert _random_area(*size_hw, 1.0, np.random.default_rng(0)) == middle


@pytest.mark.parametrize("size_hw", [(64, 64), (40, 48), (20, 90), (300, 200), (1, 1), (1, 50)])
@pytest.mark.parametrize("crop", [8, 32, 48])
def test_a_picture_becomes_a_square_and_its_label_stays(size_hw: tuple[int, int], crop: int) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (*size_hw, 3), np.uint8)
    before, label = picture.copy(), np.array(3, np.int64)
    for seed in range(10):
        image, same = augment_image(picture, label, Augmentation(crop), np.random.default_rng(seed))
        assert image.shape == (crop, crop, 3) and image.dtype == np.uint8 and image.flags.c_contiguous
        assert same is label
    assert np.array_equal(picture, before)


def test_a_picture_is_scaled_as_evaluation_scales_it() -> None:
    """All of an image, not flipped: the evaluation transform's own result."""
    picture = np.random.default_rng(1).integers(0, 256, (60, 60, 3), np.uint8)
    for interpolation in ("area", "linear", "cubic"):
        augmentation = Augmentation(32, "none", 1.0, interpolation)
        image, _ = augment_image(picture, np.array(0), augmentation, np.random.default_rng(0))
        assert np.array_equal(image, centre_crop(picture, (32, 32), 32, interpolation))


def test_the_generator_decides_on_a_picture() -> None:
    picture, label = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8), np.array(1)
    keys = [(0, 1, 0), (0, 1, 1), (0, 2, 0), (1, 1, 0)]
    seen = [augment_image(picture, label, Augmentation(32), np.random.default_rng(key))[0] for key in keys]
    again = [augment_image(picture, label, Augmentation(32), np.random.default_rng(key))[0] for key in keys]
    assert all(np.array_equal(a, b) for a, b in zip(seen, again, strict=True))
    assert not any(np.array_equal(seen[0], other) for other in seen[1:])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"flips": "sideways"}, r"unknown flips 'sideways'; it is one of both, horizontal, vertical, none"),
        ({"least_area": 0.0}, r"--least-area is 0, expected above 0 and at most 1"),
        ({"least_area": 1.5}, r"--least-area is 1.5, expected above 0 and at most 1"),
        ({"least_area": float("nan")}, r"--least-area is nan, expected above 0 and at most 1"),
    ],
)
def test_what_cannot_be_done_is_told(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Augmentation(32, **changes)
