"""Masks that are read as another dataset's are refused, and whose they are is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dlcv.runtime.datasets.loading import training_split
from dlcv.runtime.datasets.masks.description import DatasetDescription, load_description
from dlcv.runtime.datasets.masks.likeness import LOOKED_AT, check_counted, check_likeness
from dlcv.runtime.datasets.masks.pairs import Pair
from dlcv.runtime.errors import DatasetError
from dlcv.runtime.masks import write_mask

DEEPGLOBE = load_description("deepglobe")
DUBAI = load_description("dubai512")
LABEL = np.random.default_rng(0).integers(0, 6, (40, 50), dtype=np.uint8)


def pairs_of(folder: Path, count: int, write: Callable[[Path, int], None]) -> list[Pair]:
    pairs = [Pair(f"m{n}", folder / f"m{n}_sat.jpg", folder / f"m{n}_mask.png") for n in range(count)]
    for number, pair in enumerate(pairs):
        Image.fromarray(np.zeros((*LABEL.shape, 3), np.uint8)).save(pair.image)
        write(pair.mask, number)
    return pairs


def rgb(mask_rgb: NDArray[np.uint8]) -> Callable[[Path, int], None]:
    return lambda path, _: Image.fromarray(mask_rgb).save(path)


def indexed(description: DatasetDescription, label: NDArray[np.uint8] = LABEL) -> Callable[[Path, int], None]:
    return lambda path, _: write_mask(path, label, description.palette)


def refusal(check: Callable[[list[Pair], DatasetDescription], None], pairs: list[Pair]) -> str:
    with pytest.raises(DatasetError) as caught:
        check(pairs, DEEPGLOBE)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_masks_of_another_dataset_that_ships(tmp_path: Path) -> None:
    """Each of dubai512's colours is a class of deepglobe once it is thresholded."""
    text = refusal(check_likeness, pairs_of(tmp_path, 3, indexed(DUBAI)))
    assert text.startswith("the masks are not those of the dataset deepglobe: ")
    assert "expected urban (0, 255, 255), agriculture" in text
    assert text.endswith("these are masks of dubai512: pass --dataset dubai512")


def test_training_refuses_them_before_it_begins(tmp_path: Path) -> None:
    pairs_of(tmp_path, 9, indexed(DUBAI))
    with pytest.raises(DatasetError, match="pass --dataset dubai512"):
        training_split("segmentation", tmp_path, dataset="deepglobe", validation_share=0.3, seed=0)
    train, validation = training_split("segmentation", tmp_path, dataset="dubai512", validation_share=0.3, seed=0)
    assert len(train) + len(validation) == 9


def test_masks_of_ones_own(tmp_path: Path) -> None:
    mask = np.where(LABEL[..., None] > 1, (90, 100, 110), (0, 255, 255)).astype(np.uint8)
    text = refusal(check_likeness, pairs_of(tmp_path, 2, rgb(mask)))
    assert (
        f"{np.mean(LABEL > 1):.0%} of their pixels are far from all of its colours, such as (90, 100, 110) in" in text
    )
    assert text.endswith("say what they mean with --dataset FILE.json, as docs/training.md shows")


@pytest.mark.parametrize("noise", [0, 63])
def test_masks_with_noise_are_the_datasets(tmp_path: Path, noise: int) -> None:
    clean = np.array(DEEPGLOBE.palette, int)[LABEL]
    noisy = np.abs(clean - np.random.default_rng(1).integers(0, noise + 1, clean.shape)).astype(np.uint8)
    check_likeness(pairs_of(tmp_path, 2, rgb(noisy)), DEEPGLOBE)


@pytest.mark.parametrize(("share", "fits"), [(0.08, True), (0.12, False)])
def test_a_few_pixels_may_be_far(tmp_path: Path, share: float, fits: bool) -> None:
    mask = np.array(DEEPGLOBE.palette, np.uint8)[LABEL]
    mask[: int(share * len(mask) + 0.5)] = 100
    pairs = pairs_of(tmp_path, 1, rgb(mask))
    if fits:
        check_likeness(pairs, DEEPGLOBE)
    else:
        refusal(check_likeness, pairs)


def test_colours_as_a_description_has_them_need_not_be_corners(tmp_path: Path) -> None:
    mine = DatasetDescription("mine", ("ground", "roof"), ((200, 180, 120), (90, 100, 110)))
    check_likeness(pairs_of(tmp_path, 1, indexed(mine, LABEL % 2)), mine)


def test_what_is_no_class_or_cannot_be_read_is_left_to_its_reader(tmp_path: Path) -> None:
    red = np.full((*LABEL.shape, 3), (255, 0, 0), np.uint8)
    pairs = pairs_of(tmp_path, 2, rgb(red))
    pairs[1].mask.write_bytes(b"torn")
    check_likeness(pairs, DEEPGLOBE)
    check_counted(pairs, DEEPGLOBE)
    check_likeness([], DEEPGLOBE)


def test_grey_indices_read_as_colours_are_black(tmp_path: Path) -> None:
    text = refusal(check_counted, pairs_of(tmp_path, 3, lambda path, _: Image.fromarray(LABEL).save(path)))
    assert text.startswith(
        "every pixel of the 3 masks is unknown, read as the dataset deepglobe, whose other classes alone count; "
    )
    assert text.endswith("with --dataset FILE.json, as docs/training.md shows")


def test_one_mask_with_a_class_that_counts_is_enough(tmp_path: Path) -> None:
    """One that is not among those looked at first."""
    unknown = np.full(LABEL.shape, DEEPGLOBE.classes.index("unknown"), np.uint8)
    count = 3 * LOOKED_AT
    pairs = pairs_of(tmp_path, count, lambda path, n: indexed(DEEPGLOBE, LABEL if n == 1 else unknown)(path, n))
    assert pairs[1] not in pairs[:: count // LOOKED_AT]
    check_counted(pairs, DEEPGLOBE)
    refusal(check_counted, [pair for pair in pairs if pair is not pairs[1]])


def test_masks_of_indices_are_held_to_their_values_alone(tmp_path: Path) -> None:
    check_likeness(pairs_of(tmp_path, 1, indexed(replace(DUBAI, palette=DEEPGLOBE.palette[:6]))), DUBAI)
