"""A run's beginning: its folder, its data, its probe, its card; fresh or resumed."""

from __future__ import annotations

import math
import platform
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dlcv.runtime.card import ModelCard
from dlcv.runtime.datasets.classes.text_rows import listed
from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.datasets.loading import training_split
from dlcv.runtime.datasets.split import write_split
from dlcv.runtime.errors import CheckpointError, DatasetError, UsageError, one_line
from dlcv.runtime.files import make_folder
from dlcv.runtime.progress import Progress
from dlcv.runtime.version import __version__
from dlcv.train.checkpoint import Checkpoint
from dlcv.train.data.augment import Augmentation
from dlcv.train.data.sample import sample_folder
from dlcv.train.kept import KeptCheckpoints, kept_files
from dlcv.train.loop import Run, Trainer, resumable
from dlcv.train.losses import LOSSES
from dlcv.train.models.registry import create_model, model_entry
from dlcv.train.preprocess import IMAGENET_MEAN_RGB, IMAGENET_STD_RGB
from dlcv.train.probe import write_probe
from dlcv.train.session import torch_device
from dlcv.train.settings import DEFAULT_BATCH, DEFAULT_CROP, MAX_CROP, TrainSettings, settings_on_resume

PROBE_FOLDER = "probe"
SPLIT_NAME = "split.csv"

Labelled = LabelledSet[Any]


def start(settings: TrainSettings, folder: Path, *, overwrite: bool, say: Callable[[str], None]) -> Trainer:
    """Begins a run in `folder`.

    Raises:
        UsageError: when the folder holds a run already and `overwrite` is not set, or a setting is out of range.
        DatasetError: when the data cannot be used.
    """
    _check(settings)
    older = [(folder / name).exists() for name in ("last.pt", "best.pt")] + [bool(kept_files(folder))]
    if not overwrite and any(older):
        raise UsageError(
            f"{folder} holds a run already; go on with it by --resume, start again with --overwrite, or name another folder with --output"
        )
    training, validation = _data(settings, say)
    settings = _with_defaults(settings, validation)
    _check(settings)
    card = _card(settings, validation)
    say(
        f"{len(training)} images to train on, {len(validation)} to validate on, {len(card.classes)} classes; "
        f"input {card.input_size_hw[0]} x {card.input_size_hw[1]}"
    )
    _try_a_step(settings, len(card.classes), len(training))
    trainer = Trainer(Run(folder, settings, training, validation, card, probe_sha256=""), say)
    make_folder(folder)  # only now, after everything that may be refused: an older run goes when the new one can begin
    digest = write_probe(folder / PROBE_FOLDER, validation)
    for old in ("last.pt", "best.pt", "history.csv"):
        (folder / old).unlink(missing_ok=True)
    KeptCheckpoints(folder, 0).clear_up()
    _write_split(folder, training, validation)
    trainer.run = replace(trainer.run, probe_sha256=digest)
    return trainer


def resume(folder: Path, given: Mapping[str, Any], *, say: Callable[[str], None]) -> Trainer:
    """Goes on with the run in `folder`.

    Args:
        given: the options typed now; `model` among them.

    Raises:
        CheckpointError: when there is no `last.pt` of that model.
        UsageError: when an option would make it another run.
    """
    checkpoint: Checkpoint = resumable(folder, given["model"])
    if not checkpoint.training:
        raise CheckpointError(
            f"{folder / 'last.pt'} holds a result and not a run's position; start again with --overwrite"
        )
    settings = settings_on_resume(checkpoint.training["settings"], given)
    _check(settings)
    training, validation = _data(settings, say)
    _require_same_labels(settings, validation, checkpoint.card)
    _try_a_step(settings, len(validation.classes), len(training))
    run = Run(folder, settings, training, validation, checkpoint.card, checkpoint.probe_sha256)
    trainer = Trainer(replace(run, settings=replace(settings, init="")), say)
    trainer.run = run
    try:
        trainer.restore(checkpoint)
    except KeyError as error:
        raise CheckpointError(
            f"{folder / 'last.pt'} holds no {error}: another version of dlcv wrote it; start again with --overwrite"
        ) from error
    _write_split(folder, training, validation)
    say(f"resumed {folder} at epoch {trainer.epoch}, step {trainer.step_in_epoch} of {trainer.batches.per_epoch}")
    return trainer


def _require_same_labels(settings: TrainSettings, data: Labelled, card: ModelCard) -> None:
    if (data.classes, data.palette, data.uncounted) != (card.classes, card.palette, card.uncounted):
        what = f"dataset {settings.dataset}" if data.task == "segmentation" else f"data in {settings.data}"
        raise UsageError(
            f"the {len(data.classes)} classes of the {what} ({listed(data.classes)}) are not the {len(card.classes)} that the run "
            f"was begun with ({listed(card.classes)}); bring them back, or start another run with --output DIR"
        )


def _check(settings: TrainSettings) -> None:
    entry = model_entry(settings.model)
    torch_device(settings.device)
    Augmentation(settings.crop, settings.flips, settings.least_area)
    if settings.loss not in LOSSES:
        raise UsageError(f"unknown loss {settings.loss!r}; known: {', '.join(LOSSES)}")
    if settings.crop % entry.size_divisor:
        padded = math.ceil(settings.crop / entry.size_divisor) * entry.size_divisor
        raise UsageError(
            f"--crop {settings.crop} is not a multiple of {entry.size_divisor}, which {settings.model} needs; use --crop {padded}"
        )
    if entry.task == "classification":
        if settings.short_side and settings.short_side < settings.crop:
            raise UsageError(
                f"--short-side {settings.short_side} is below the crop of {settings.crop}; make it that or more"
            )
    elif settings.classes or settings.short_side:
        raise UsageError(f"--classes and --short-side are for classification; {settings.model} segments")


def _try_a_step(settings: TrainSettings, classes: int, images: int) -> None:
    """Refuses what the model cannot be trained with: sizes go through it on torch's `meta` device, which computes nothing."""
    with torch.device("meta"):
        model = create_model(settings.model, classes=classes, width=settings.width, options=settings.options).train()
    refusal = _refusal(model, min(settings.batch, images), settings.crop)
    if refusal and not _refusal(model, 2, settings.crop):
        raise UsageError(
            f"{settings.model} cannot be trained on single images, of which its batch normalisation has nothing to average; "
            "pass --batch 2 or more, and as many images"
        )
    if refusal:
        raise UsageError(one_line(f"--crop {settings.crop} does not do for {settings.model}: {refusal}"))


def _refusal(model: torch.nn.Module, batch: int, crop: int) -> str:
    try:
        model(torch.empty(batch, 3, crop, crop, device="meta"))
    except ValueError as error:
        return str(error)
    return ""


def _data(settings: TrainSettings, say: Callable[[str], None]) -> tuple[Labelled, Labelled]:
    sample, task = settings.data == "sample", model_entry(settings.model).task
    training, validation = training_split(
        task,
        _sample(task) if sample else Path(settings.data),
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
    return training, validation


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
        mean_rgb=IMAGENET_MEAN_RGB,
        std_rgb=IMAGENET_STD_RGB,
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
    """The commonest height and width among some images, in pixels."""
    some = labelled.evenly(16)
    sizes = Counter(some.read(example)[0].shape[:2] for example in some.examples)
    height, width = sizes.most_common(1)[0][0]
    return height, width


def _write_split(folder: Path, training: Labelled, validation: Labelled) -> None:
    write_split(
        folder / SPLIT_NAME, [item.name for item in training.examples], [item.name for item in validation.examples]
    )
