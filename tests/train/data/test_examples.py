"""The order of training tiles, and that neither workers nor an interruption change what is seen."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from dlcv.runtime.datasets.classes.images import ClassificationSet
from dlcv.runtime.datasets.masks.labels import read_label
from dlcv.runtime.datasets.masks.pairs import Pair
from dlcv.runtime.datasets.masks.tiles import SegmentationSet
from dlcv.runtime.errors import DatasetError
from dlcv.train.data.augment import Augmentation, augment_image
from dlcv.train.data.examples import EpochBatches, TrainingImages
from dlcv.train.processes.place import Place

CROP = Augmentation(64)


def epoch_of(batches: EpochBatches, epoch: int, start: int = 0) -> list[list[tuple[int, int]]]:
    batches.epoch, batches.start = epoch, start
    return list(batches)


@pytest.mark.parametrize(
    ("tiles", "batch", "per_epoch", "size"), [(10, 4, 2, 4), (8, 4, 2, 4), (3, 8, 1, 3), (1, 1, 1, 1)]
)
def test_every_tile_comes_at_most_once_an_epoch(tiles: int, batch: int, per_epoch: int, size: int) -> None:
    batches = EpochBatches(tiles, batch, seed=0)
    order = epoch_of(batches, 1)
    assert len(order) == len(batches) == batches.per_epoch == per_epoch
    assert {len(b) for b in order} == {size}
    seen = [key for b in order for key in b]
    assert len(set(seen)) == len(seen) and {e for e, _ in seen} == {1} and {i for _, i in seen} <= set(range(tiles))


def test_every_tile_comes_in_some_epoch() -> None:
    batches = EpochBatches(10, 4, seed=0)  # two of ten are left out each epoch, others each time
    assert {i for epoch in range(1, 9) for b in epoch_of(batches, epoch) for _, i in b} == set(range(10))


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    first, again = epoch_of(EpochBatches(32, 4, seed=3), 5), EpochBatches(32, 4, seed=3)
    epoch_of(again, 1)
    assert epoch_of(again, 5) == first
    places = [
        [i for b in order for _, i in b] for order in (first, epoch_of(again, 6), epoch_of(EpochBatches(32, 4, 4), 5))
    ]
    assert places[0] != places[1] and places[0] != places[2]


@pytest.mark.parametrize("start", range(4))
def test_a_later_start_continues_the_same_order(start: int) -> None:
    batches = EpochBatches(13, 4, seed=1)
    assert (
        epoch_of(batches, 2, start) == epoch_of(batches, 2)[start:]
        and len(epoch_of(batches, 2, start)) == len(batches.__class__(13, 4, 1)) - start
    )


def test_a_start_past_the_end_leaves_nothing() -> None:
    batches = EpochBatches(8, 4, seed=1)
    assert epoch_of(batches, 1, start=5) == [] and len(batches) == 0


@pytest.mark.parametrize(("batch", "size"), [(8, 2), (7, 3), (4, 4), (99, 5)])
@pytest.mark.parametrize("weights", [None, np.full(21, 1 / 21)])
def test_processes_share_each_batch_out(batch: int, size: int, weights: NDArray[np.float64] | None) -> None:
    """In their order a batch's shares are the batch of one process, and nearly alike."""
    one = EpochBatches(21, batch, 3, accumulate=2, weights=weights)
    many = [EpochBatches(21, batch, 3, accumulate=2, weights=weights, place=Place(rank, size)) for rank in range(size)]
    whole = epoch_of(one, 2)
    shares = [epoch_of(each, 2) for each in many]
    assert [[key for share in shares for key in share[k]] for k in range(len(whole))] == whole
    lengths = {len(share[0]) for share in shares}
    assert max(lengths) == many[0].most and max(lengths) - min(lengths) <= 1
    assert sorted(many[0].of_step(0, range(size))) == sorted(one.of_step(0))
    own = many[1].of_step(0, [1])
    assert own == [key[1] for part in shares[1][: one.accumulate] for key in part]


def test_workers_do_not_change_what_is_seen(training: SegmentationSet) -> None:
    batches = EpochBatches(len(training), 4, seed=2)
    batches.epoch = 3
    tiles = TrainingImages(training, CROP, seed=2)
    torch.manual_seed(0)
    alone = list(DataLoader(tiles, batch_sampler=batches, num_workers=0))
    torch.manual_seed(1)
    helped = list(DataLoader(tiles, batch_sampler=batches, num_workers=1))
    assert len(alone) == len(helped) == 2
    for (image, label), (other_image, other_label) in zip(alone, helped, strict=True):
        assert image.shape == (4, 64, 64, 3) and image.dtype == torch.uint8 and label.dtype == torch.int64
        assert torch.equal(image, other_image) and torch.equal(label, other_label)


def test_an_item_depends_on_seed_epoch_and_index(training: SegmentationSet) -> None:
    tiles = TrainingImages(training, CROP, seed=0)
    assert torch.equal(tiles[1, 0][0], tiles[1, 0][0]) and len(tiles) == len(training)
    others = [tiles[2, 0], tiles[1, 1], TrainingImages(training, CROP, seed=1)[1, 0]]
    assert not any(torch.equal(tiles[1, 0][0], other[0]) for other in others)


def test_an_item_is_a_flipped_cut_of_the_tile(training: SegmentationSet) -> None:
    image_rgb, label = training.read(training.examples[0])
    image, classes = (tensor.numpy() for tensor in TrainingImages(training, CROP, seed=0)[1, 0])
    found = [
        (axes, y, x)
        for axes in ((), (0,), (1,), (0, 1))
        for y in range(33)
        for x in range(33)
        if np.array_equal(np.flip(classes, axes), label[y : y + 64, x : x + 64])
        and np.array_equal(np.flip(image, axes), image_rgb[y : y + 64, x : x + 64])
    ]
    assert len(found) == 1


def test_pixels_are_counted_over_all_labels(training: SegmentationSet) -> None:
    pixels = training.counts()
    labels = np.concatenate([read_label(pair, training.masks).ravel() for pair in training.examples])
    assert pixels.dtype == np.int64 and pixels.tolist() == [int((labels == k).sum()) for k in range(7)]
    assert pixels.sum() == len(training) * 96 * 96


def test_an_image_that_cannot_be_read_is_named(training: SegmentationSet, tmp_path: Path) -> None:
    image = tmp_path / "a_sat.jpg"
    image.write_bytes(b"not an image")
    with pytest.raises(DatasetError, match=r"a_sat\.jpg"):
        training.read(Pair("a", image, training.examples[0].mask))


def test_a_mask_of_another_size_is_named(training: SegmentationSet, tmp_path: Path) -> None:
    shutil.copyfile(training.examples[0].image, tmp_path / "a_sat.jpg")
    cv2.imwrite(str(tmp_path / "a_mask.png"), np.zeros((96, 80, 3), np.uint8))
    with pytest.raises(DatasetError, match=r"a_mask\.png is 96 x 80, .* is 96 x 96 .*expected the same size"):
        training.read(Pair("a", tmp_path / "a_sat.jpg", tmp_path / "a_mask.png"))


def test_a_picture_is_an_item_with_the_index_of_its_class(
    split_pictures: tuple[ClassificationSet, ClassificationSet],
) -> None:
    pictures = split_pictures[0]
    images = TrainingImages(pictures, Augmentation(24), seed=3)
    for index in (0, 13, 39):
        image, label = images[1, index]
        assert image.shape == (24, 24, 3) and image.dtype == torch.uint8
        assert label.shape == () and label.dtype == torch.int64 and int(label) == pictures.examples[index].label
        rng = np.random.default_rng([3, 1, index])
        expected, _ = augment_image(*pictures.read(pictures.examples[index]), Augmentation(24), rng)
        assert np.array_equal(image.numpy(), expected)
    others = [images[2, 0], images[1, 1], TrainingImages(pictures, Augmentation(24), seed=4)[1, 0]]
    assert not any(torch.equal(images[1, 0][0], other[0]) for other in others)


def test_workers_do_not_change_what_is_seen_of_pictures(
    split_pictures: tuple[ClassificationSet, ClassificationSet],
) -> None:
    batches = EpochBatches(len(split_pictures[0]), 8, seed=2)
    batches.epoch = 3
    images = TrainingImages(split_pictures[0], Augmentation(24), seed=2)
    alone, helped = (list(DataLoader(images, batch_sampler=batches, num_workers=n)) for n in (0, 1))
    assert len(alone) == len(helped) == 5
    for (image, label), (other_image, other_label) in zip(alone, helped, strict=True):
        assert image.shape == (8, 24, 24, 3) and label.shape == (8,)
        assert torch.equal(image, other_image) and torch.equal(label, other_label)
