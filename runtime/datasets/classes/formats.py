"""Classification data in whatever form it comes: the form is known by what is there."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dlcv.runtime.datasets.classes.folders import find_in_folder
from dlcv.runtime.datasets.classes.found import Found
from dlcv.runtime.datasets.classes.images import ClassificationSet, LabelledImage
from dlcv.runtime.datasets.classes.names import read_classes, with_labels
from dlcv.runtime.datasets.classes.table import find_in_csv
from dlcv.runtime.datasets.split import TEST, VALIDATION
from dlcv.runtime.errors import DatasetError

LABELS_NAME = "labels.csv"
"""The CSV that is read where a folder is named."""


@dataclass(frozen=True)
class ClassifiedData:
    """Images, and what the data itself says of who trains and who validates.

    Attributes:
        labelled: all images.
        parts: `train`, `validation` or `test` of each image by name; `None` where there is no split column.
    """

    labelled: ClassificationSet
    parts: dict[str, str] | None

    def part(self, part: str, say: Callable[[str], None] = lambda _: None) -> ClassificationSet:
        """The images of a part; where nothing is for validation, what is for testing validates, else `say` tells that it is left out."""
        assert self.parts is not None, "asked where the data has a split column"
        present = list(self.parts.values())
        if part == VALIDATION and VALIDATION not in present:
            part = TEST
        elif part == VALIDATION and TEST in present:
            say(f"{self.labelled.name}: {present.count(TEST)} images are for testing and are left out")
        return self.labelled.with_examples([e for e in self.labelled.examples if self.parts[e.name] == part])


def read_images(
    data: Path,
    *,
    fixed: Sequence[str] | None = None,
    prefix: str = "",
    say: Callable[[str], None] = lambda _: None,
) -> ClassifiedData:
    """The images of a folder per class, of a flat folder of `CLASS_INDEX.png`, or of a CSV.

    Args:
        data: a folder or a CSV.
        fixed: the classes where no `classes.txt` is there.
        prefix: of every name.
        say: takes a line about what was left out.

    Raises:
        DatasetError: when there is nothing of this kind, or as `find_in_folder`, `find_in_csv`, `read_classes` and
            `with_labels` say.
    """
    found = _find(data, say)
    folder = data if os.path.isdir(data) else data.parent
    source = data / LABELS_NAME if os.path.isfile(data / LABELS_NAME) else data
    indices, classes = with_labels(found, read_classes(folder) or fixed, source)
    images = [
        LabelledImage(prefix + image.name, index, image.path, image.pixels)
        for image, index in zip(found, indices, strict=True)
    ]
    parts = {prefix + image.name: image.part for image in found} if found[0].part else None
    return ClassifiedData(ClassificationSet(images, classes, os.path.basename(os.path.abspath(data))), parts)


def _find(data: Path, say: Callable[[str], None]) -> list[Found]:
    if os.path.isfile(data):
        return find_in_csv(data)
    if not os.path.isdir(data):
        raise DatasetError(f"there is no {data}; --data expects a folder of images, or a CSV of file names and labels")
    if os.path.isfile(data / LABELS_NAME):
        return find_in_csv(data / LABELS_NAME)
    return find_in_folder(data, say)
