"""What a run would be: its data, every setting decided, the card, the size of the model; nothing is written here."""

from __future__ import annotations

import math
import platform
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.datasets.loading import training_split
from dlcv.runtime.datasets.split import TRAIN, VALIDATION
from dlcv.runtime.errors import DatasetError
from dlcv.runtime.progress import Progress
from dlcv.runtime.version import __version__
from dlcv.train.checks import check, try_a_step
from dlcv.train.data.examples import EpochBatches
from dlcv.train.data.left_out import STOP, LeftOut, advised, without_unusable
from dlcv.train.data.sample import sample_folder
from dlcv.train.folder.snapshots import snapshot_tiles
from dlcv.train.models.registry import model_entry
from dlcv.train.processes.distributed import ALONE, Processes
from dlcv.train.settings.settings import DEFAULT_BATCH, DEFAULT_CROP, MAX_CROP, TrainSettings
from dlcv.train.steps.optimizers import highest_rate

Labelled = LabelledSet[Any]


@dataclass(frozen=True)
class Data:
    """What is trained and validated on, and what is left out of it."""

    training: Labelled
    validation: Labelled
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A run before it begins.

    Attributes:
        settings: with everything decided that was left open.
        data: the labelled images.
        card: of the model to be.
        parameters: how many the model has.
    """

    settings: TrainSettings
    data: Data
    card: ModelCard
    parameters: int

    def lines(self) -> list[str]:
        """What would be trained, for people."""
        settings = self.settings
        batches = EpochBatches(len(self.data.training), settings.batch, settings.seed, accumulate=settings.accumulate)
        images = min(settings.batch, len(self.data.training)) * batches.accumulate
        return [
            f"would train {settings.model} with {self.parameters:,} parameters, nothing is written",
            f"at most {settings.epochs} epochs of {batches.per_epoch} steps of {images} images",
            f"classes: {', '.join(self.card.classes)}",
        ]


def plan_of(settings: TrainSettings, say: Callable[[str], None], processes: Processes = ALONE) -> Plan:
    """Decides what was left open and tries it as far as that takes no computing.

    Raises:
        UsageError: when a setting is out of range, or the model cannot be trained so.
        DatasetError: when the data cannot be used.
    """
    check(settings)
    data = data_of(settings, say, processes)
    training, validation = data.training, data.validation
    snapshot_tiles(validation, settings.snapshot_tiles)  # refuses names of no tile
    with advised(settings.unreadable):
        settings = _with_defaults(settings, validation)
        check(settings)
        card = _card(settings, validation)
    say(
        f"{len(training)} images to train on, {len(validation)} to validate on, {len(card.classes)} classes; "
        f"input {card.input_size_hw[0]} x {card.input_size_hw[1]}"
    )
    model = try_a_step(settings, len(card.classes), len(training), processes.place)
    if (size := processes.place.size) > 1:
        batch = min(settings.batch, len(training))
        each = f"{batch // size}" if batch % size == 0 else f"{batch // size} or {batch // size + 1}"
        say(f"{size} processes share a batch of {batch} images, {each} in each")
    settings = replace(settings, learning_rate=highest_rate(model, settings, settings.width))
    return Plan(settings, data, card, sum(each.numel() for each in model.parameters()))


def data_of(settings: TrainSettings, say: Callable[[str], None], processes: Processes = ALONE) -> Data:
    """The labelled images of a run.

    Raises:
        DatasetError: when the data cannot be used.
    """
    sample, task = settings.data == "sample", model_entry(settings.model).task
    with processes.main_first() if sample else nullcontext():
        folder = _sample(task) if sample else Path(settings.data)
    training, validation = training_split(
        task,
        folder,
        dataset="deepglobe" if sample else settings.dataset,
        only=settings.classes,
        validation_share=settings.validation_share,
        seed=settings.seed,
        say=say,
    )
    if not training or not validation:
        raise DatasetError(
            f"{settings.data}: {len(training)} training and {len(validation)} validation images; both need at least one"
        )
    if settings.unreadable == STOP:
        return Data(training, validation)
    training, of_training = without_unusable(training, TRAIN, processes, say)
    validation, of_validation = without_unusable(validation, VALIDATION, processes, say)
    return Data(training, validation, (*of_training, *of_validation))


def _sample(task: str) -> Path:
    """The cached sample; its making, on first use, shows progress."""
    with ExitStack() as stack:
        shown: list[Progress] = []

        def advance(done: int, total: int) -> None:
            if not shown:
                shown.append(stack.enter_context(Progress(total, "generating the sample")))
            shown[0].advance()

        return sample_folder(task=task, progress=advance)


def _with_defaults(settings: TrainSettings, validation: Labelled) -> TrainSettings:
    """The settings with what was left open decided, from the task and the commonest size among some images."""
    settings = replace(settings, batch=settings.batch or DEFAULT_BATCH[validation.task])
    if validation.task == "segmentation":
        return replace(settings, crop=settings.crop or DEFAULT_CROP)
    divisor = model_entry(settings.model).size_divisor
    shorter = min(_commonest_size(validation))
    crop = settings.crop or max(divisor, min(MAX_CROP, settings.short_side or shorter) // divisor * divisor)
    return replace(settings, crop=crop, short_side=settings.short_side or max(crop, min(shorter, round(crop * 8 / 7))))


def _card(settings: TrainSettings, validation: Labelled) -> ModelCard:
    entry = model_entry(settings.model)
    size_hw, fit = (settings.crop, settings.crop), "centre-crop"
    if entry.task == "segmentation":
        height, width = _commonest_size(validation)
        height, width = (
            min(1024, math.ceil(side / entry.size_divisor) * entry.size_divisor) for side in (height, width)
        )
        size_hw, fit = (height, width), "windows"
    return ModelCard(
        model=settings.model,
        task=entry.task,
        classes=validation.classes,
        palette=validation.palette,
        uncounted=validation.uncounted,
        input_size_hw=size_hw,
        fit=fit,
        short_side=settings.short_side,
        mean_rgb=entry.mean_rgb,
        std_rgb=entry.std_rgb,
        width=settings.width,
        options=dict(settings.options),
        versions={
            "dlcv": __version__,
            "torch": str(torch.__version__),
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    )


def _commonest_size(labelled: Labelled) -> tuple[int, int]:
    """The commonest height and width among some images, in pixels; of several that are as common, the largest."""
    some = labelled.evenly(16)
    sizes = Counter(some.read(example)[0].shape[:2] for example in some.examples)
    height, width = max(sizes, key=lambda size: (sizes[size], math.prod(size)))
    return height, width
