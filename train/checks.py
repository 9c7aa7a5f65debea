"""What is wrong with a run's settings, all of it at once, before any work is done."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch

from dlcv.runtime.errors import UsageError, one_line
from dlcv.train.checkpoints.session import torch_device
from dlcv.train.data.augment import Augmentation
from dlcv.train.data.left_out import UNREADABLE
from dlcv.train.folder.snapshots import snapshot_epochs
from dlcv.train.models.registry import create_model, model_entry
from dlcv.train.models.requirements import require_logits
from dlcv.train.processes.place import Place
from dlcv.train.settings.settings import TrainSettings
from dlcv.train.steps.losses import LOSSES
from dlcv.train.steps.optimizers import OPTIMIZERS
from dlcv.train.steps.precision import AMP
from dlcv.train.steps.schedules import SCHEDULES, warm_up_steps


def check(settings: TrainSettings) -> None:
    """Refuses settings that are out of range or contradict each other.

    Raises:
        UsageError: tells all that is wrong.
    """
    refuse(problems(settings))


def refuse(found: Sequence[str], where: str = "") -> None:
    """Raises what is wrong as one message; several problems are counted and numbered.

    Raises:
        UsageError: when there is any.
    """
    if len(found) == 1 and not where:
        raise UsageError(found[0])
    if found:
        told = "; ".join(f"({number}) {problem}" for number, problem in enumerate(found, 1))
        raise UsageError(f"{where + ': ' if where else ''}{len(found)} problem{'s' * (len(found) > 1)}: {told}")


def problems(settings: TrainSettings) -> list[str]:
    """What is wrong, a sentence each.

    Raises:
        UsageError: for an unknown model, of which nothing else can be said.
    """
    model_entry(settings.model)
    tries: tuple[Callable[[], object], ...] = (
        lambda: torch_device(settings.device),
        lambda: Augmentation(settings.crop, settings.flips, settings.least_area),
        lambda: warm_up_steps(settings.warmup, total=1, per_epoch=1),
        lambda: snapshot_epochs(settings.snapshot_epochs, settings.epochs),
    )
    found = []
    for each in tries:
        try:
            each()
        except (UsageError, ValueError) as error:
            found.append(str(error))
    return [*found, *_of_names(settings), *_of_numbers(settings), *_of_task(settings)]


def _of_names(settings: TrainSettings) -> Iterator[str]:
    known = (
        ("loss", LOSSES),
        ("optimizer", OPTIMIZERS),
        ("schedule", SCHEDULES),
        ("amp", AMP),
        ("unreadable", UNREADABLE),
    )
    for name, names in known:
        value = getattr(settings, name)
        if value not in names:
            yield f"unknown {name} {value!r}; known: {', '.join(names)}"


def _of_numbers(settings: TrainSettings) -> Iterator[str]:
    if settings.epochs == 0 and not settings.init:
        yield "--epochs 0 trains nothing: it makes a checkpoint of weights as they are; name them with --init FILE"
    ranges = (
        ("accumulate", settings.accumulate >= 1, "at least 1"),
        ("momentum", 0 <= settings.momentum < 1, "from 0 to below 1"),
        ("ema", 0 <= settings.ema < 1, "from 0 to below 1"),
        ("clip-norm", settings.clip_norm >= 0, "0 or more"),
        ("focal-gamma", settings.focal_gamma >= 0, "0 or more"),
        ("patience", settings.patience >= 0, "0 or more"),
    )
    for name, fits, expected in ranges:
        if not fits:
            yield f"--{name} is {getattr(settings, name.replace('-', '_'))}, expected {expected}"


def _of_task(settings: TrainSettings) -> Iterator[str]:
    entry = model_entry(settings.model)
    if settings.crop % entry.size_divisor:
        padded = math.ceil(settings.crop / entry.size_divisor) * entry.size_divisor
        yield f"--crop {settings.crop} is not a multiple of {entry.size_divisor}, which {settings.model} needs; use --crop {padded}"
    if entry.task == "classification":
        if settings.loss == "dice":
            yield f"--loss dice is for segmentation, and {settings.model} classifies; use focal or weighted-cross-entropy"
        if settings.short_side and settings.short_side < settings.crop:
            yield f"--short-side {settings.short_side} is below the crop of {settings.crop}; make it that or more"
    elif settings.classes or settings.short_side:
        yield f"--classes and --short-side are for classification; {settings.model} segments"


def try_a_step(settings: TrainSettings, classes: int, images: int, place: Place | None = None) -> torch.nn.Module:
    """Refuses what the model cannot be trained with: sizes go through it on torch's `meta` device, which computes nothing.

    A model of the user's own may not know that device: it runs on the CPU, and what it gives is looked at.

    Args:
        settings: with batch and crop decided.
        classes: how many the model tells apart.
        images: that there are to train on.
        place: of this process among those that share a batch.

    Returns:
        The model, without weights.

    Raises:
        UsageError: when it cannot be trained so.
    """
    own = model_entry(settings.model).own
    with torch.device("cpu" if own else "meta"):
        model = create_model(settings.model, classes=classes, width=settings.width, options=settings.options).train()
    batch, processes = min(settings.batch, images), (place or Place()).size
    if batch < processes:
        raise UsageError(f"a batch of {batch} images cannot be shared by {processes} processes; {_enough(processes)}")
    if settings.sync_batchnorm and processes > 1 and torch_device(settings.device).type != "cuda":
        raise UsageError(
            "--sync-batchnorm is for GPUs, torch has none for CPUs; leave it out: each process then takes the statistics of its share"
        )
    if own:
        require_logits(model, settings.model, classes, settings.crop)
    least = batch if settings.sync_batchnorm else batch // processes
    refusal = _refusal(model, least, settings.crop)
    if refusal and processes > 1 and not _refusal(model, 2, settings.crop):
        raise UsageError(
            f"{settings.model} cannot be trained on single images, of which its batch normalisation has nothing to average, and "
            f"{processes} processes share a batch of {batch}; {_enough(2 * processes)}"
        )
    if refusal and not _refusal(model, 2, settings.crop):
        raise UsageError(
            f"{settings.model} cannot be trained on single images, of which its batch normalisation has nothing to average; "
            "pass --batch 2 or more, and as many images"
        )
    if refusal:
        raise UsageError(one_line(f"--crop {settings.crop} does not do for {settings.model}: {refusal}"))
    return model


def _enough(images: int) -> str:
    return f"pass --batch {images} or more, with as many images, or start fewer processes"


def _refusal(model: torch.nn.Module, batch: int, crop: int) -> str:
    try:
        model(torch.zeros(batch, 3, crop, crop, device=next(model.parameters()).device))
    except ValueError as error:
        return str(error)
    return ""
