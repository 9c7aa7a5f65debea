"""Labelled images as a torch dataset, and the order in which they come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.train.data.augment import Augmentation, augment_image, augment_tile
from dlcv.train.processes.place import Place

Key = tuple[int, ...]
"""(epoch, index) of a drawn image; (epoch, index, n) where it was drawn n times before in that epoch."""


class TrainingImages(Dataset[tuple[Tensor, Tensor]]):
    """Labelled images, augmented.

    An item is asked for by its `Key`; how it is augmented depends on the seed and the key alone, so that neither the number of
    workers nor an interruption changes what is seen. Gives the image, uint8 (crop, crop, 3), RGB, and the label,
    int64 (crop, crop) for segmentation, int64 () for classification.
    """

    def __init__(self, labelled: LabelledSet[Any], augmentation: Augmentation, seed: int) -> None:
        self._labelled, self._seed = labelled, seed
        self._augment = augment_tile if labelled.task == "segmentation" else augment_image
        self._augmentation = augmentation
        side = (augmentation.crop, augmentation.crop)
        self.image_shape, self.label_shape = (*side, 3), side if labelled.task == "segmentation" else ()

    def __len__(self) -> int:
        return len(self._labelled)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        image_rgb, label = self._labelled.read(self._labelled.examples[key[1]])
        rng = np.random.default_rng([self._seed, *key])
        image_rgb, label = self._augment(image_rgb, label, self._augmentation, rng)
        return torch.from_numpy(image_rgb), torch.from_numpy(label.astype(np.int64))


class EpochBatches(Sampler[list[Key]]):
    """The batches of one epoch, from a given step on; the order depends on seed and epoch alone.

    Of several processes each has its share of every batch: what is in a batch does not depend on how many there are.

    The last, short step of an epoch is left out unless it is the only one.

    Args:
        images: how many there are.
        batch: images a batch.
        seed: of the order.
        accumulate: batches a step; a step has the images that it would have at `accumulate` times the batch.
        weights: float64 (images,), adding up to 1: as many images are drawn, with replacement; None takes each once.
        place: of the process that they are for.
    """

    def __init__(
        self,
        images: int,
        batch: int,
        seed: int,
        *,
        accumulate: int = 1,
        weights: NDArray[np.float64] | None = None,
        place: Place | None = None,
    ) -> None:
        self._place = place or Place()
        self._images, self._batch, self._seed, self._weights = images, min(batch, images), seed, weights
        self.accumulate = min(accumulate, images // self._batch)
        self.epoch = 0
        self.start = 0

    def __len__(self) -> int:
        # a run resumed on fewer tiles may be past its epoch's end
        return max(0, self.per_epoch - self.start) * self.accumulate

    @property
    def per_epoch(self) -> int:
        """How many steps a whole epoch has."""
        return self._images // self._batch // self.accumulate

    def __iter__(self) -> Iterator[list[Key]]:
        order = self._order()
        for k in range(self.start * self.accumulate, self.per_epoch * self.accumulate):
            yield order[k * self._batch : (k + 1) * self._batch][self._place.share(self._batch)]

    @property
    def most(self) -> int:
        """Images in the largest share of a batch."""
        return -(-self._batch // self._place.size)

    def of_step(self, step: int, ranks: Sequence[int] = (0,)) -> list[int]:
        """The indices of the images that some processes, by default the only one, have in a step of the epoch.

        Args:
            step: from 0.
            ranks: of the processes.
        """
        order, shares = self._order(), [self._place._replace(rank=rank).share(self._batch) for rank in ranks]
        batches = range(step * self.accumulate, (step + 1) * self.accumulate)
        keys = [order[k * self._batch : (k + 1) * self._batch][share] for k in batches for share in shares]
        return [key[1] for part in keys for key in part]

    def _order(self) -> list[Key]:
        rng = np.random.default_rng([self._seed, self.epoch])
        if self._weights is None:
            return [(self.epoch, int(i)) for i in rng.permutation(self._images)]
        drawn: dict[int, int] = {}
        keys: list[Key] = []
        for i in map(int, rng.choice(self._images, self._images, p=self._weights)):
            again = drawn.get(i, 0)  # drawn again it is augmented otherwise
            keys.append((self.epoch, i, again) if again else (self.epoch, i))
            drawn[i] = again + 1
        return keys
