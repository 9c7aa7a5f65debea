"""What a run's folder says by itself, without its data: history, settings, checkpoint; a run of an older version, too."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlcv.runtime.errors import UsageError, one_line
from dlcv.train.checkpoints.checkpoint import Checkpoint, load_checkpoint
from dlcv.train.folder.history import TRAINING_NAME
from dlcv.train.pictures.curves import Curves
from dlcv.train.settings.config import SETTINGS_NAME, read_config
from dlcv.train.settings.settings import option_of

HEADLINES = {"mean_iou": "mean IoU", "accuracy": "accuracy"}
"""Column of `history.csv` -> the score by which a run is judged."""
PER_CLASS = {"mean_iou": "IoU", "accuracy": "recall"}


@dataclass(frozen=True)
class RunRecord:
    """A run as its folder tells it.

    Attributes:
        folder: of the run.
        name: to call it by among others; its folder's, and more of the path where two are alike.
        best: `best.pt`.
        settings: names as in `settings.toml`; empty where the run kept none.
        rows: of `history.csv`.
        training: epoch -> row of `training-scores.csv`.
    """

    folder: Path
    name: str
    best: Checkpoint
    settings: Mapping[str, Any]
    rows: Sequence[Mapping[str, str]]
    training: Mapping[int, Mapping[str, str]]

    @property
    def headline(self) -> str:
        """The column of the score: `mean_iou` or `accuracy`."""
        return "mean_iou" if self.best.card.task == "segmentation" else "accuracy"

    @property
    def best_epoch(self) -> int | None:
        """Of `best.pt`; None where nothing tells it."""
        epoch = self.best.scores.get("epoch")
        return epoch if isinstance(epoch, int) else None

    def curves(self) -> Curves:
        """The history as it is drawn."""
        epochs = [int(number(row, "epoch")) for row in self.rows]

        def column(name: str) -> list[float]:
            return [number(row, name) for row in self.rows]

        return Curves(
            name=self.name,
            epochs=epochs,
            train_loss=column("train_loss"),
            validation_loss=column("validation_loss"),
            score=column(self.headline),
            train_score=[number(self.training.get(epoch, {}), self.headline) for epoch in epochs],
            score_name=HEADLINES[self.headline],
            majority=number(self.rows[-1], f"majority_{self.headline}") if self.rows else math.nan,
        )

    def best_row(self) -> Mapping[str, str]:
        """The history's row of the best epoch; of the best score where the checkpoint tells no epoch; empty without a history."""
        by_epoch = {int(number(row, "epoch")): row for row in self.rows}
        best = self.curves().best()
        return by_epoch.get(self.best_epoch or (best[0] if best else 0), {})

    def per_class(self) -> list[float]:
        """IoU or recall of each class at the best epoch; nan where the history does not tell."""
        row, each = self.best_row(), PER_CLASS[self.headline].lower()
        return [number(row, f"{each}_{name}") for name in self.best.card.classes]

    def data(self) -> str:
        """Where the labelled images were; empty where the run kept no settings."""
        return str(self.settings.get("data", ""))


def read_run(folder: Path, name: str | None = None) -> RunRecord:
    """Reads a run's folder.

    Raises:
        UsageError: when it is no run's folder, holds no `best.pt` yet, or its history or settings cannot be read.
        CheckpointError: when `best.pt` cannot be read.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no run {folder}; expected the folder that dlcv-train wrote, such as runs/fcn8s")
    if not (folder / "best.pt").is_file():
        raise UsageError(
            f"{folder} holds no best.pt, which dlcv-train writes after the first epoch; expected a run's folder"
        )
    history = _rows(folder / "history.csv")
    training = {int(number(row, "epoch")): row for row in _rows(folder / TRAINING_NAME)}
    best = load_checkpoint(folder / "best.pt")
    return RunRecord(folder, name or folder.resolve().name, best, _settings(folder), history, training)


def named(folders: Sequence[Path]) -> list[str]:
    """A short name for each, all different: the folder's own where that suffices, else with folders before it."""
    parts = [folder.resolve().parts for folder in folders]
    for depth in range(1, max(map(len, parts), default=1) + 1):
        names = ["/".join(each[-depth:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    raise UsageError("a run is named twice; expected each once")


def number(row: Mapping[str, str], name: str) -> float:
    """A cell as a number; nan where there is none."""
    try:
        return float(row.get(name) or "nan")
    except ValueError:
        return math.nan


def _rows(path: Path) -> list[dict[str, str]]:
    """The rows that have an epoch; none where there is no file."""
    try:
        with open(path, newline="", encoding="utf-8", errors="replace") as file:
            return [row for row in csv.DictReader(file) if math.isfinite(number(row, "epoch"))]
    except FileNotFoundError:
        return []
    except (OSError, csv.Error) as error:
        raise UsageError(one_line(f"{path} cannot be read: {error}; expected what dlcv-train wrote")) from error


def _settings(folder: Path) -> dict[str, Any]:
    """Of `settings.toml`; of an older run those in `last.pt`, under the same names."""
    if (folder / SETTINGS_NAME).is_file():
        return read_config(folder / SETTINGS_NAME, what="")
    if not (folder / "last.pt").is_file():
        return {}
    stored = load_checkpoint(folder / "last.pt").training.get("settings", {})
    return {option_of(str(name)).removeprefix("--"): value for name, value in stored.items()}
