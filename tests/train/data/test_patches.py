"""Patches: cut from scenes, of the class they are named after, reproducible, and not told apart by colour alone."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from dlcv.train.data.patches import CLASS_NAMES, LEAST_SHARE, MAX_SIZE, Patch, make_patches
from dlcv.train.data.scenes import make_scene

SIZE = 16


@pytest.fixture(scope="module")
def patches() -> list[Patch]:
    return list(make_patches(0, 4, SIZE))


def places(image: NDArray[np.uint8], patch: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Each top and left edge where a scene shows exactly this patch."""
    windows = sliding_window_view(image, patch.shape)[:, :, 0]
    rows, columns = np.nonzero((windows == patch).all(axis=(2, 3, 4)))
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def test_each_class_has_its_number_and_each_patch_its_own(patches: list[Patch]) -> None:
    assert sorted((patch.label, patch.number) for patch in patches) == [(c, k) for c in range(6) for k in range(4)]
    assert all(patch.image_rgb.shape == (SIZE, SIZE, 3) and patch.image_rgb.dtype == np.uint8 for patch in patches)


def test_a_patch_stands_in_a_scene_and_its_class_covers_it(patches: list[Patch]) -> None:
    left, shares, drawn = list(patches), [], []
    for index in range(60):
        image, label = make_scene(0, index, 4 * SIZE)
        found = [(patch, where[0]) for patch in left if (where := places(image, patch.image_rgb))]
        for patch, (top, edge) in found:
            pixels = label[top : top + SIZE, edge : edge + SIZE]
            shares.append(float(np.mean(pixels == patch.label)))
        corners = [where for _, where in found]
        assert all(
            abs(a[0] - b[0]) >= SIZE or abs(a[1] - b[1]) >= SIZE for k, a in enumerate(corners) for b in corners[:k]
        ), f"patches of scene {index} overlap: {corners}"
        drawn.append(max(Counter(patch.label for patch, _ in found).values(), default=0))
        left = [patch for patch in left if patch not in [one for one, _ in found]]
        if not left:
            break
    assert not left and len(shares) == len(patches)
    assert min(shares) >= LEAST_SHARE
    assert max(drawn) <= 3  # one scene's light and season are not a whole class


def test_patches_are_the_same_twice_and_whatever_the_count(patches: list[Patch]) -> None:
    few = {(patch.label, patch.number): patch.image_rgb for patch in make_patches(0, 2, SIZE)}
    more = {(patch.label, patch.number): patch.image_rgb for patch in patches}
    assert len(few) == 12
    assert all(np.array_equal(more[name], image) for name, image in few.items())


def test_seed_and_split_make_other_patches(patches: list[Patch]) -> None:
    others = [*make_patches(1, 4, SIZE), *make_patches(0, 4, SIZE, split="validation")]
    pixels = {patch.image_rgb.tobytes() for patch in [*patches, *others]}
    assert len(pixels) == len(patches) + len(others)


def test_none_are_cut_where_none_are_asked_for() -> None:
    assert list(make_patches(0, 0, SIZE)) == []


@pytest.mark.parametrize("size", [17, 30])
def test_a_size_that_is_no_multiple_of_four_is_cut(size: int) -> None:
    assert {patch.image_rgb.shape for patch in make_patches(0, 1, size)} == {(size, size, 3)}


@pytest.mark.parametrize(
    ("seed", "size", "split"), [(0, 15, "train"), (0, MAX_SIZE + 1, "train"), (-1, SIZE, "train"), (0, SIZE, "test")]
)
def test_impossible_patches_are_refused(seed: int, size: int, split: str) -> None:
    with pytest.raises(ValueError, match=r"no (patches|scene)"):
        next(make_patches(seed, 1, size, split=split))


def test_nearest_mean_colour_is_poor() -> None:
    def mean_colours(patches: list[Patch]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        return np.stack([p.image_rgb.mean(axis=(0, 1)) for p in patches]), np.array([p.label for p in patches])

    colours, labels = mean_colours(list(make_patches(0, 12, 32)))
    held_out, truth = mean_colours(list(make_patches(0, 8, 32, split="validation")))
    means = np.stack([colours[labels == name].mean(axis=0) for name in range(len(CLASS_NAMES))])
    nearest = ((held_out[:, None] - means) ** 2).sum(axis=-1).argmin(axis=1)
    # seen: 0.29 here, and 0.41 of 120 patches of 64 pixels, where resnet18 of width 0.25 reached 0.84 in 6 epochs
    assert 0.2 < np.mean(nearest == truth) < 0.65  # above chance (0.17), far from solved
