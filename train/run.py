"""A run's beginning: its folder, its data, its probe, its card; fresh or resumed."""

from __future__ import annotations

import math
import platform
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dlcv.runtime.card import ModelCard
from dlcv.runtime.datasets.description import DatasetDescription, load_description
from dlcv.runtime.datasets.pairs import Pair, load_split
from dlcv.runtime.errors import CheckpointError, DatasetError, UsageError
from dlcv.runtime.files import make_folder
from dlcv.runtime.version import __version__
from dlcv.train.checkpoint import Checkpoint
from dlcv.train.data.sample import sample_folder
from dlcv.train.data.tiles import read_pair
from dlcv.train.loop import Run, Trainer, resumable
from dlcv.train.losses import LOSSES
from dlcv.train.models.registry import model_entry
from dlcv.train.preprocess import IMAGENET_MEAN_RGB, IMAGENET_STD_RGB
from dlcv.train.probe import write_probe
from dlcv.train.session import torch_device
from dlcv.train.settings import TrainSettings, settings_on_resume

PROBE_FOLDER = "probe"


def start(settings: TrainSettings, folder: Path, *, overwrite: bool, say: Callable[[str], None]) -> Trainer:
    """Begins a run in `folder`.

    Raises:
        UsageError: when the folder holds a run already and `overwrite` is not set, or a setting is out of range.
        DatasetError: when the data cannot be used.
    """
    _check(settings)
    if not overwrite and any((folder / name).exists() for name in ("last.pt", "best.pt")):
        raise UsageError(
            f"{folder} holds a run already; go on with it by --resume, start again with --overwrite, or name another folder with --output"
        )
    description, training, validation = _data(settings)
    card = _card(settings, description, validation)
    say(
        f"{len(training)} tiles to train on, {len(validation)} to validate on; "
        f"input {card.input_size_hw[0]} x {card.input_size_hw[1]}"
    )
    trainer = Trainer(Run(folder, settings, description, training, validation, card, probe_sha256=""), say)
    make_folder(folder)  # only now, after everything that may be refused: an older run goes when the new one can begin
    digest = write_probe(folder / PROBE_FOLDER, validation, description)
    for old in ("last.pt", "best.pt", "history.csv"):
        (folder / old).unlink(missing_ok=True)
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
    description, training, validation = _data(settings)
    card = checkpoint.card
    if (description.classes, description.palette, description.uncounted) != (
        card.classes,
        card.palette,
        card.uncounted,
    ):
        raise UsageError(
            f"the classes of the dataset {settings.dataset} are not those that the run was begun with "
            f"({', '.join(card.classes)}); bring its description back, or start another run with --output DIR"
        )
    run = Run(folder, settings, description, training, validation, card, checkpoint.probe_sha256)
    trainer = Trainer(replace(run, settings=replace(settings, init="")), say)
    trainer.run = run
    trainer.restore(checkpoint)
    say(f"resumed {folder} at epoch {trainer.epoch}, step {trainer.step_in_epoch} of {trainer.batches.per_epoch}")
    return trainer


def _check(settings: TrainSettings) -> None:
    entry = model_entry(settings.model)
    torch_device(settings.device)
    if settings.loss not in LOSSES:
        raise UsageError(f"unknown loss {settings.loss!r}; known: {', '.join(LOSSES)}")
    if settings.crop % entry.size_divisor:
        padded = math.ceil(settings.crop / entry.size_divisor) * entry.size_divisor
        raise UsageError(
            f"--crop {settings.crop} is not a multiple of {entry.size_divisor}, which {settings.model} needs; use --crop {padded}"
        )


def _data(settings: TrainSettings) -> tuple[DatasetDescription, list[Pair], list[Pair]]:
    description = load_description("deepglobe" if settings.data == "sample" else settings.dataset)
    folder = sample_folder() if settings.data == "sample" else Path(settings.data)
    training, validation = load_split(
        folder, description, validation_share=settings.validation_share, seed=settings.seed
    )
    if not training or not validation:
        raise DatasetError(
            f"{folder}: {len(training)} training and {len(validation)} validation tiles; both need at least one"
        )
    return description, training, validation


def _card(settings: TrainSettings, description: DatasetDescription, validation: Sequence[Pair]) -> ModelCard:
    entry = model_entry(settings.model)
    return ModelCard(
        model=settings.model,
        task=entry.task,
        classes=description.classes,
        palette=description.palette,
        uncounted=description.uncounted,
        input_size_hw=_input_size(validation, description, entry.size_divisor),
        mean_rgb=IMAGENET_MEAN_RGB,
        std_rgb=IMAGENET_STD_RGB,
        width=settings.width,
        versions={
            "dlcv": __version__,
            "torch": str(torch.__version__),
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    )


def _input_size(pairs: Sequence[Pair], description: DatasetDescription, divisor: int) -> tuple[int, int]:
    """The commonest size among some validation tiles, each side rounded up to a multiple of `divisor`, at most 1024."""
    sizes = Counter(read_pair(pair, description)[1].shape for pair in pairs[:: max(1, len(pairs) // 16)])
    height, width = (min(1024, math.ceil(side / divisor) * divisor) for side in sizes.most_common(1)[0][0])
    return height, width
