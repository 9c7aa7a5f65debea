"""Crops and flips: image and label move together, which is seen by writing each pixel's place into both."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from dlcv.train.data.augment import random_crop_and_flips


def placed(height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """An image whose channels are row, column and 7, and a label that is a function of both."""
    rows, columns = np.indices((height, width))
    image = np.stack([rows, columns, np.full_like(rows, 7)], axis=-1).astype(np.uint8)
    return image, ((13 * rows + columns) % 251).astype(np.uint8)


@pytest.mark.parametrize(("height", "width", "crop"), [(40, 50, 16), (32, 32, 32), (20, 50, 32), (10, 12, 32)])
def test_image_and_label_move_together(height: int, width: int, crop: int) -> None:
    for seed in range(20):
        image, label = random_crop_and_flips(*placed(height, width), crop, np.random.default_rng(seed))
        assert image.shape == (crop, crop, 3) and label.shape == (crop, crop)
        assert image.dtype == label.dtype == np.uint8 and image.flags.c_contiguous and label.flags.c_contiguous
        assert np.array_equal(label, (13 * image[..., 0].astype(int) + image[..., 1]) % 251)
        assert (image[..., 2] == 7).all()


def test_a_smaller_tile_is_padded_by_reflection() -> None:
    image, label = placed(20, 24)
    seen, _ = random_crop_and_flips(image, label, 32, np.random.default_rng(0))
    rows, columns = seen[:, 0, 0].astype(int), seen[0, :, 1].astype(int)
    expected_rows, expected_columns = [*range(20), *range(18, 6, -1)], [*range(24), *range(22, 14, -1)]
    assert rows.tolist() in (expected_rows, expected_rows[::-1])
    assert columns.tolist() in (expected_columns, expected_columns[::-1])


def test_all_four_flips_and_every_corner_occur() -> None:
    corners, flips = set(), set()
    for seed in range(200):
        image, _ = random_crop_and_flips(*placed(18, 18), 16, np.random.default_rng(seed))
        rows, columns = image[:, 0, 0].astype(int), image[0, :, 1].astype(int)
        flips.add((bool(rows[0] > rows[-1]), bool(columns[0] > columns[-1])))
        corners.add((int(rows.min()), int(columns.min())))
    assert len(flips) == 4
    assert corners == {(y, x) for y in range(3) for x in range(3)}


def test_the_generator_decides_and_the_source_stays() -> None:
    image, label = placed(40, 40)
    before = image.copy(), label.copy()
    first = random_crop_and_flips(image, label, 16, np.random.default_rng(5))
    second = random_crop_and_flips(image, label, 16, np.random.default_rng(5))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    first[0][:] = 0
    assert np.array_equal(image, before[0]) and np.array_equal(label, before[1])
