"""Segmentation data as a `LabelledSet`: pairs of an image and a mask, and the description of what masks mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.datasets.masks.description import DatasetDescription, known_descriptions, load_description
from dlcv.runtime.datasets.masks.labels import check_sizes, read_label
from dlcv.runtime.datasets.masks.pairs import Pair
from dlcv.runtime.errors import DatasetError, TileError
from dlcv.runtime.files import sha256_of
from dlcv.runtime.tiles.decode import DecodeOptions, decode_file

DESCRIPTION_NAME = "dataset.json"
"""A description that stands beside the tiles themselves, as in a run's probe."""


class SegmentationSet(LabelledSet[Pair]):
    """Pairs of an image and a mask.

    Args:
        pairs: which.
        masks: what their masks mean.
    """

    task = "segmentation"

    def __init__(self, pairs: Sequence[Pair], masks: DatasetDescription) -> None:
        self.examples, self.masks = tuple(pairs), masks
        self.name, self.classes = masks.name, masks.classes
        self.palette, self.uncounted = masks.palette, masks.uncounted

    def read(self, example: Pair) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """See `LabelledSet.read`."""
        image_rgb, label = self.image(example), self.label(example)
        check_sizes(image_rgb, label, example)
        return image_rgb, label

    def image(self, example: Pair) -> NDArray[np.uint8]:
        """See `LabelledSet.image`."""
        try:
            return decode_file(example.image, DecodeOptions())
        except TileError as error:
            raise DatasetError(f"{example.image}: {error}") from error

    def label(self, example: Pair) -> NDArray[Any]:
        """See `LabelledSet.label`."""
        return read_label(example, self.masks)

    def sha256(self, example: Pair) -> str:
        """See `LabelledSet.sha256`."""
        try:
            return sha256_of(example.image)
        except OSError as error:
            raise DatasetError(f"cannot read {example.image}: {error.strerror or error}") from error

    def counts(self) -> NDArray[np.int64]:
        """See `LabelledSet.counts`."""
        pixels = np.zeros(len(self.classes), np.int64)
        for pair in self.examples:
            pixels += np.bincount(self.label(pair).ravel(), minlength=len(pixels))
        return pixels

    def description(self) -> Mapping[str, Any]:
        """See `LabelledSet.description`."""
        return self.masks.to_dict()


def find_description(
    name_or_file: str | None, data: Path, card: ModelCard, learned: DatasetDescription | None = None
) -> DatasetDescription:
    """The description that was asked for; else the one beside the tiles; else what the model learned from; else the one that ships.

    Args:
        name_or_file: as `load_description` takes it.
        data: the tiles' folder.
        card: of the model, whose classes one that ships must have.
        learned: as a checkpoint says.

    Raises:
        DatasetError: when none of these is there.
    """
    if name_or_file:
        return load_description(name_or_file)
    if (data / DESCRIPTION_NAME).is_file():
        return load_description(str(data / DESCRIPTION_NAME))
    if learned is not None:
        return learned
    for name in known_descriptions():
        description = load_description(name)
        if description.classes == card.classes:
            return description
    raise DatasetError(
        f"no dataset that ships has the classes of this model ({', '.join(card.classes)}); describe its masks in a JSON file and pass --dataset FILE.json"
    )
