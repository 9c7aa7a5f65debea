"""`history.csv`: a row an epoch, as the run goes."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlcv.runtime.files import whole_file
from dlcv.runtime.metrics import Scores

FIXED = (
    "epoch",
    "step",
    "learning_rate",
    "seconds",
    "train_loss",
    "validation_loss",
    "mean_iou",
    "pixel_accuracy",
    "majority_mean_iou",
)


class History:
    """The rows of a run, kept in a CSV file; rows of epochs after `epoch` are dropped when a run resumes from there."""

    def __init__(self, path: Path, classes: Sequence[str], *, epoch: int = 0) -> None:
        self._path = path
        self._columns = [*FIXED, *(f"iou_{name}" for name in classes)]
        self.rows: list[dict[str, Any]] = [row for row in _read(path) if int(row["epoch"]) <= epoch] if epoch else []

    def add(self, scores: Scores, **values: float) -> None:
        """Adds the row of an epoch and rewrites the file, whole.

        Args:
            scores: on validation.
            values: `epoch`, `step`, `learning_rate`, `seconds`, `train_loss`, `validation_loss`.
        """
        row: dict[str, Any] = dict(values) | {
            "mean_iou": scores.mean_iou, "pixel_accuracy": scores.pixel_accuracy, "majority_mean_iou": scores.majority_mean_iou,
        }  # fmt: skip
        row |= dict(zip(self._columns[len(FIXED) :], scores.iou))
        self.rows.append({name: _text(row[name]) for name in self._columns})
        with whole_file(self._path) as temporary, open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(self.rows)


def _text(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))
