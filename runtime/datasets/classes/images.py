"""Classification data as a `LabelledSet`: images and the index of their class."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.errors import DatasetError, TileError
from dlcv.runtime.files import sha256_of
from dlcv.runtime.tiles.decode import DecodeOptions, decode_file


@dataclass(frozen=True)
class LabelledImage:
    """An image and its class.

    Attributes:
        name: its own within its set, with forward slashes: the path below the data folder, or `row 12` of a CSV.
        label: class index.
        path: of the image's file; of the CSV where the pixels stand in it.
        pixels: `None`, or the grey image itself, uint8 (h, w), where it stands in a CSV.
    """

    name: str
    label: int
    path: Path
    pixels: NDArray[np.uint8] | None = None


class ClassificationSet(LabelledSet[LabelledImage]):
    """Images and their classes.

    Args:
        images: which.
        classes: class names; the position is the index.
        name: of the dataset, for messages.
    """

    task = "classification"

    def __init__(self, images: Sequence[LabelledImage], classes: Sequence[str], name: str) -> None:
        self.examples, self.classes, self.name = tuple(images), tuple(classes), name

    def read(self, example: LabelledImage) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """See `LabelledSet.read`."""
        return self.image(example), self.label(example)

    def image(self, example: LabelledImage) -> NDArray[np.uint8]:
        """See `LabelledSet.image`; a grey image has three equal channels."""
        if example.pixels is not None:
            return np.repeat(example.pixels[..., None], 3, axis=2)
        try:
            return decode_file(example.path, DecodeOptions())
        except TileError as error:
            raise DatasetError(f"{example.path}: {error}") from error

    def label(self, example: LabelledImage) -> NDArray[Any]:
        """See `LabelledSet.label`."""
        return np.array(example.label, np.int64)

    def sha256(self, example: LabelledImage) -> str:
        """The hash of the image's file; of the pixels where they stand in a CSV."""
        if example.pixels is not None:
            return hashlib.sha256(str(example.pixels.shape).encode() + example.pixels.tobytes()).hexdigest()
        try:
            return sha256_of(example.path)
        except OSError as error:
            raise DatasetError(f"cannot read {example.path}: {error.strerror or error}") from error

    def counts(self) -> NDArray[np.int64]:
        """See `LabelledSet.counts`."""
        labels = np.array([image.label for image in self.examples], np.int64)
        return np.bincount(labels, minlength=len(self.classes)).astype(np.int64)

    def description(self) -> Mapping[str, Any]:
        """See `LabelledSet.description`."""
        return {"task": self.task, "name": self.name, "classes": list(self.classes)}
