"""What looks on while a run trains and changes nothing in it: masks at chosen epochs, event files, scores on training images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from dlcv.runtime.metrics import Scores
from dlcv.runtime.pipeline.settings import PipelineSettings
from dlcv.runtime.scoring.evaluation import evaluate
from dlcv.train.checkpoints.session import TorchSession
from dlcv.train.epoch_line import EpochFigures
from dlcv.train.folder.history import TRAINING_NAME, History
from dlcv.train.folder.snapshots import Snapshots, forget_snapshots
from dlcv.train.tensorboard import EventFiles, forget_events

if TYPE_CHECKING:
    from dlcv.train.training_run import Run

Open = Callable[[], TorchSession]
"""The model as it is now, behind a session."""


class Watchers:
    """All that a run's settings ask for; where they ask for nothing, nothing is done.

    Args:
        run: what is trained; nothing is written yet.

    Raises:
        UsageError: when an epoch or a tile that masks are asked of does not exist.
        MissingPackageError: when event files are asked for without tensorboard.
    """

    def __init__(self, run: Run) -> None:
        settings = run.settings
        self._run = run
        self._snapshots = Snapshots(
            run.folder, run.card, run.validation, settings.snapshot_epochs, settings.snapshot_tiles, settings.epochs
        )
        self._events = EventFiles(run.folder) if settings.tensorboard else None
        self._scored = run.training.evenly(settings.score_training)

    def epoch_done(self, open_session: Open, figures: EpochFigures, scores: Scores) -> None:
        """After an epoch's validation, before the run's position is saved: a killed run repeats what it may have lost."""
        training = self._score_training(open_session, figures) if len(self._scored) else None
        if self._events is not None:
            self._events.add(figures.epoch, self._scalars(figures, scores, training))
        if self._snapshots.wants(figures.epoch):
            self._snapshots.take(open_session(), figures.epoch)

    def ended(self, open_session: Open, epoch: int) -> None:
        """After the last epoch, which may have come early; masks that are there already are left."""
        if self._events is not None:
            self._events.close()
        if self._snapshots.wants(epoch, ended=True):
            self._snapshots.take(open_session(), epoch)

    def _score_training(self, open_session: Open, figures: EpochFigures) -> Scores:
        settings = PipelineSettings(batch=self._run.settings.batch, fit=self._run.card.fit)
        scores = evaluate(open_session(), self._scored, settings, quiet=True).scores()
        history = History(self._run.folder / TRAINING_NAME, self._run.card.classes, epoch=figures.epoch - 1)
        history.add(scores, **asdict(figures))
        return scores

    def _scalars(self, figures: EpochFigures, scores: Scores, training: Scores | None) -> dict[str, float]:
        values = {
            "loss/train": figures.train_loss, "loss/validation": figures.validation_loss,
            "learning_rate": figures.learning_rate, "time/seconds": figures.seconds, "time/data_wait": figures.data_wait,
        }  # fmt: skip
        values |= {f"validation/{name}": value for name, value in scores.figures().items()}
        if training is not None:
            values |= {f"train/{name}": value for name, value in training.figures().items()}
        each = zip(self._run.card.classes, scores.per_class, strict=True)
        return values | {f"{scores.per_class_name.lower()}/{name}": value for name, value in each}


def forget_watched(run: Path) -> None:
    """Removes what an older run in the folder has left."""
    forget_snapshots(run)
    forget_events(run)
    (run / TRAINING_NAME).unlink(missing_ok=True)
