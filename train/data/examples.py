"""Labelled images as a torch dataset, and the order in which they come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.train.data.augment import Augmentation, augment_image, augment_tile


class TrainingImages(Dataset[tuple[Tensor, Tensor]]):
    """Labelled images, augmented.

    An item is asked for by (epoch, index); how it is augmented depends on the seed and that pair alone, so that neither the
    number of workers nor an interruption changes what is seen. Gives the image, uint8 (crop, crop, 3), RGB, and the label,
    int64 (crop, crop) for segmentation, int64 () for classification.
    """

    def __init__(self, labelled: LabelledSet[Any], augmentation: Augmentation, seed: int) -> None:
        self._labelled, self._seed = labelled, seed
        self._augment = augment_tile if labelled.task == "segmentation" else augment_image
        self._augmentation = augmentation

    def __len__(self) -> int:
        return len(self._labelled)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        epoch, index = key
        image_rgb, label = self._labelled.read(self._labelled.examples[index])
        rng = np.random.default_rng([self._seed, epoch, index])
        image_rgb, label = self._augment(image_rgb, label, self._augmentation, rng)
        return torch.from_numpy(image_rgb), torch.from_numpy(label.astype(np.int64))


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """The batches of one epoch, from a given one on; the order depends on seed and epoch alone.

    The last, short batch of an epoch is left out unless it is the only one.
    """

    def __init__(self, images: int, batch: int, seed: int) -> None:
        self._images, self._batch, self._seed = images, min(batch, images), seed
        self.epoch = 0
        self.start = 0

    def __len__(self) -> int:
        return max(0, self.per_epoch - self.start)  # a run resumed on fewer tiles may be past its epoch's end

    @property
    def per_epoch(self) -> int:
        """How many batches a whole epoch has."""
        return self._images // self._batch

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.random.default_rng([self._seed, self.epoch]).permutation(self._images)
        for step in range(self.start, self.per_epoch):
            yield [(self.epoch, int(i)) for i in order[step * self._batch : (step + 1) * self._batch]]
