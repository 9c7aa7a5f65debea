"""A run's beginning: its folder, fresh or resumed; what it will be is decided in `plan.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.datasets.split import write_split
from dlcv.runtime.datasets.text_rows import listed
from dlcv.runtime.errors import CheckpointError, UsageError
from dlcv.runtime.files import make_folder, remove_partials, write_bytes
from dlcv.train.checkpoints.checkpoint import Checkpoint, resumable
from dlcv.train.checks import check, try_a_step
from dlcv.train.data.left_out import advised, write_left_out
from dlcv.train.folder.kept import FOLDER as KEPT_FOLDER
from dlcv.train.folder.kept import KeptCheckpoints, kept_files
from dlcv.train.folder.lock import hold
from dlcv.train.folder.names import PROBE_FOLDER, SPLIT_NAME, UNREADABLE_NAME
from dlcv.train.folder.probe import write_probe
from dlcv.train.loop import Trainer
from dlcv.train.plan import data_of, plan_of
from dlcv.train.processes.distributed import ALONE, Processes
from dlcv.train.settings.config import SETTINGS_NAME, settings_text
from dlcv.train.settings.settings import TrainSettings, settings_on_resume
from dlcv.train.training_run import Run
from dlcv.train.watching import forget_watched

Labelled = LabelledSet[Any]


def start(
    settings: TrainSettings,
    folder: Path,
    *,
    overwrite: bool,
    say: Callable[[str], None],
    processes: Processes = ALONE,
) -> Trainer:
    """Begins a run in `folder`, which the main process writes.

    Raises:
        UsageError: when the folder holds a run already and `overwrite` is not set, or a setting is out of range.
        DatasetError: when the data cannot be used.
    """
    check(settings)
    older = [(folder / name).exists() for name in ("last.pt", "best.pt")] + [bool(kept_files(folder))]
    if processes.main and not overwrite and any(older):
        if settings.data != "sample" and not Path(settings.data).exists():
            plan_of(settings, say, processes)  # says so: of two mistakes the one that is to be mended in any case
        raise UsageError(
            f"{folder} holds a run already; go on with it by --resume, start again with --overwrite, or name another folder with --output"
        )
    plan = plan_of(settings, say, processes)
    data = plan.data
    run = Run(folder, plan.settings, data.training, data.validation, plan.card, probe_sha256="", left_out=data.left_out)
    trainer = Trainer(run, say, processes)
    _require_alike(trainer)
    if not processes.main:
        return trainer
    make_folder(folder)  # only now, after everything that may be refused: an older run goes when the new one can begin
    hold(folder, trainer)
    _remove_partials(folder)
    with advised(plan.settings.unreadable):
        digest = write_probe(folder / PROBE_FOLDER, data.validation)
    for old in ("last.pt", "best.pt", "history.csv"):
        (folder / old).unlink(missing_ok=True)
    KeptCheckpoints(folder, 0).clear_up()
    forget_watched(folder)
    _write_beside(trainer.run)
    trainer.run = replace(trainer.run, probe_sha256=digest)
    return trainer


def resume(
    folder: Path, given: Mapping[str, Any], *, say: Callable[[str], None], processes: Processes = ALONE
) -> Trainer:
    """Goes on with the run in `folder`, which may have been trained by another number of processes.

    Args:
        given: the options typed now; `model` among them.

    Raises:
        CheckpointError: when there is no `last.pt` of that model.
        UsageError: when an option would make it another run.
    """
    checkpoint: Checkpoint = resumable(folder, given["model"])
    hold(folder, checkpoint)
    if not checkpoint.training:
        raise CheckpointError(
            f"{folder / 'last.pt'} holds a result and not a run's position; start again with --overwrite"
        )
    settings = settings_on_resume(checkpoint.training["settings"], given)
    check(settings)
    data = data_of(settings, say, processes)
    training, validation = data.training, data.validation
    _require_same_labels(settings, validation, checkpoint.card)
    try_a_step(settings, len(validation.classes), len(training), processes.place)
    run = Run(folder, settings, training, validation, checkpoint.card, checkpoint.probe_sha256, data.left_out)
    trainer = Trainer(replace(run, settings=replace(settings, init="")), say, processes)
    trainer.run = run
    try:
        trainer.restore(checkpoint)
    except KeyError as error:
        raise CheckpointError(
            f"{folder / 'last.pt'} holds no {error}: another version of dlcv wrote it; start again with --overwrite"
        ) from error
    _require_alike(trainer)
    if processes.main:
        hold(folder, trainer)
        _remove_partials(folder)
        _write_beside(run)
    say(f"resumed {folder} at epoch {trainer.epoch}, step {trainer.step_in_epoch} of {trainer.batches.per_epoch}")
    return trainer


def _require_same_labels(settings: TrainSettings, data: Labelled, card: ModelCard) -> None:
    if (data.classes, data.palette, data.uncounted) != (card.classes, card.palette, card.uncounted):
        what = f"dataset {settings.dataset}" if data.task == "segmentation" else f"data in {settings.data}"
        raise UsageError(
            f"the {len(data.classes)} classes of the {what} ({listed(data.classes)}) are not the {len(card.classes)} that the run "
            f"was begun with ({listed(card.classes)}); bring them back, or start another run with --output DIR"
        )


def _require_alike(trainer: Trainer) -> None:
    """Of several processes: the same images, settings and position. Where the data lies, and on what device, may differ."""
    run, processes = trainer.run, trainer.processes
    names = [[example.name for example in part.examples] for part in (run.training, run.validation)]
    settings = {
        k: v for k, v in run.settings.to_dict().items() if k not in ("data", "dataset", "init", "device", "workers")
    }
    position = (trainer.epoch, trainer.step_in_epoch)
    processes.require_alike("images", str(names))
    processes.require_alike("settings", str(settings))
    processes.require_alike("last.pt", str(position))


def _remove_partials(folder: Path) -> None:
    """What a killed process left half written: a checkpoint is large."""
    for place in (folder, folder / KEPT_FOLDER, folder / PROBE_FOLDER):
        remove_partials(place)


def _write_beside(run: Run) -> None:
    """The split, what is left out and the settings, as files that people read."""
    training, validation = ([example.name for example in part.examples] for part in (run.training, run.validation))
    write_split(run.folder / SPLIT_NAME, training, validation)
    write_left_out(run.folder / UNREADABLE_NAME, run.left_out)
    write_bytes(run.folder / SETTINGS_NAME, settings_text(run.settings).encode("utf-8", "replace"))
