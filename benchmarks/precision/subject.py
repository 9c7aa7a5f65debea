"""A trained run as the precision table takes it: its images that validate, and a folder of images that it was trained on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.datasets.classes.images import ClassificationSet
from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.datasets.loading import training_split, write_labelled_csv
from dlcv.runtime.datasets.masks.description import description_from_dict
from dlcv.runtime.datasets.masks.pairs import load_split
from dlcv.runtime.datasets.masks.tiles import SegmentationSet
from dlcv.runtime.datasets.split import read_split
from dlcv.runtime.errors import DatasetError
from dlcv.train.checkpoints.checkpoint import load_checkpoint

CALIBRATION = 64
"""Training images that int8 is calibrated on."""


@dataclass(frozen=True)
class Subject:
    """A run to be exported.

    Attributes:
        checkpoint: its `best.pt`.
        card: of the checkpoint.
        validation: the images that scores are of, evenly spaced over those that validated.
        data: what an export verifies on: for `--data`.
        calibration: a folder with training images alone.
        given: how many images validated.
    """

    checkpoint: Path
    card: ModelCard
    validation: LabelledSet[Any]
    data: Path
    calibration: Path
    given: int


def subject_of(
    run: Path, data: Path, scratch: Path, images: int | None = None, say: Callable[[str], None] = lambda _: None
) -> Subject:
    """A run with its data.

    Args:
        run: folder with `best.pt` and `split.csv`.
        data: what the run was trained on.
        scratch: a folder for copies of images.
        images: how many validation images at most; None takes all.
        say: takes lines for people.

    Raises:
        CheckpointError, DatasetError: when they cannot be used, or the data splits in another way than the run's `split.csv` says.
    """
    path = run / "best.pt"
    checkpoint = load_checkpoint(path)
    card = checkpoint.card
    training: LabelledSet[Any]
    validation: LabelledSet[Any]
    if card.task == "segmentation":
        masks = description_from_dict(checkpoint.dataset, "of the checkpoint", source=str(path))
        training, validation = (SegmentationSet(pairs, masks) for pairs in load_split(data, masks))
    else:
        training, validation = training_split(
            card.task, data, dataset="", only=card.classes, validation_share=0.2, seed=0, say=say
        )
    named = {example.name for example in validation.examples}
    if named != set(read_split(run / "split.csv")[1]):
        raise DatasetError(
            f"{data} gives other validation images than {run / 'split.csv'} lists; expected the data of that run, split with its own share and seed"
        )
    folder = _copied(training.evenly(CALIBRATION), scratch / "calibration")
    few = validation if images is None else validation.evenly(images)
    if isinstance(few, ClassificationSet):  # a folder that an export can be given, without the images that trained
        write_labelled_csv(scratch / "validation", few)
        data = scratch / "validation"
    return Subject(path, card, few, data, folder, len(validation))


def _copied(labelled: LabelledSet[Any], folder: Path) -> Path:
    """The images alone: beside its mask, a tile would be found as a labelled pair, and so would those that validate."""
    folder.mkdir(parents=True)
    for number, example in enumerate(labelled.examples):
        source = example.image if labelled.task == "segmentation" else example.path
        shutil.copyfile(source, folder / f"{number:04}{source.suffix}")
    return folder
