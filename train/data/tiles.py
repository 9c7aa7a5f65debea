"""Training tiles as a torch dataset, and the order in which they come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from dlcv.runtime.datasets.description import DatasetDescription
from dlcv.runtime.datasets.labels import check_sizes, read_label
from dlcv.runtime.datasets.pairs import Pair
from dlcv.runtime.decode import DecodeOptions, decode_file
from dlcv.runtime.errors import DatasetError, TileError
from dlcv.train.data.augment import random_crop_and_flips


def read_pair(pair: Pair, description: DatasetDescription) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Image uint8 (H, W, 3), RGB, and label uint8 (H, W), class indices.

    Raises:
        DatasetError: when either cannot be read, or their sizes differ.
    """
    try:
        image_rgb = decode_file(pair.image, DecodeOptions())
    except TileError as error:
        raise DatasetError(f"{pair.image}: {error}") from error
    label = read_label(pair, description)
    check_sizes(image_rgb, label, pair)
    return image_rgb, label


class TrainingTiles(Dataset[tuple[Tensor, Tensor]]):
    """Random crops of labelled tiles.

    An item is asked for by (epoch, index); its crop and flips depend on the seed and that pair alone, so that neither the
    number of workers nor an interruption changes what is seen. Gives image uint8 (crop, crop, 3) and label int64 (crop, crop).
    """

    def __init__(self, pairs: Sequence[Pair], description: DatasetDescription, crop: int, seed: int) -> None:
        self._pairs, self._description, self._crop, self._seed = list(pairs), description, crop, seed

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        epoch, index = key
        image_rgb, label = read_pair(self._pairs[index], self._description)
        rng = np.random.default_rng([self._seed, epoch, index])
        image_rgb, label = random_crop_and_flips(image_rgb, label, self._crop, rng)
        return torch.from_numpy(image_rgb), torch.from_numpy(label.astype(np.int64))


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """The batches of one epoch, from a given one on; the order depends on seed and epoch alone.

    The last, short batch of an epoch is left out unless it is the only one.
    """

    def __init__(self, tiles: int, batch: int, seed: int) -> None:
        self._tiles, self._batch, self._seed = tiles, min(batch, tiles), seed
        self.epoch = 0
        self.start = 0

    def __len__(self) -> int:
        return max(0, self.per_epoch - self.start)  # a run resumed on fewer tiles may be past its epoch's end

    @property
    def per_epoch(self) -> int:
        """How many batches a whole epoch has."""
        return self._tiles // self._batch

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.random.default_rng([self._seed, self.epoch]).permutation(self._tiles)
        for step in range(self.start, self.per_epoch):
            yield [(self.epoch, int(i)) for i in order[step * self._batch : (step + 1) * self._batch]]


def count_pixels(pairs: Sequence[Pair], description: DatasetDescription) -> NDArray[np.int64]:
    """Pixels of each class over the labels of `pairs`: int64 (classes,)."""
    pixels = np.zeros(len(description.classes), np.int64)
    for pair in pairs:
        pixels += np.bincount(read_label(pair, description).ravel(), minlength=len(pixels))
    return pixels
