"""`history.csv`: a row an epoch, as the run goes."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlcv.runtime.errors import OutputError, reason_of
from dlcv.runtime.files import whole_file
from dlcv.runtime.metrics import Scores

TRAINING_NAME = "training-scores.csv"
"""Beside it: the same of some training images, where the run was asked to score them (`--score-training`)."""
POSITION = ("epoch", "step", "learning_rate", "seconds", "data_wait", "train_loss", "validation_loss")


class History:
    """The rows of a run, kept in a CSV file; rows of epochs after `epoch` are dropped when a run resumes from there.

    A row holds `POSITION` (`data_wait` is the share, 0 to 1, of the training time that was spent waiting for images), the figures over all classes (`mean_iou`, `accuracy`, ...) and a value a class (`iou_water`,
    `recall_forest`).

    Raises:
        OutputError: when the rows to go on from cannot be read.
    """

    def __init__(self, path: Path, classes: Sequence[str], *, epoch: int = 0) -> None:
        self._path, self._classes = path, tuple(classes)
        self.rows: list[dict[str, Any]] = [row for row in _read(path) if int(row["epoch"]) <= epoch] if epoch else []

    def add(self, scores: Scores, **position: float) -> None:
        """Adds the row of an epoch and rewrites the file, whole.

        Args:
            scores: on validation.
            position: a value for each of `POSITION`.
        """
        each = scores.per_class_name.lower()
        values = {name: position[name] for name in POSITION} | scores.figures()
        values |= {f"{each}_{name}": value for name, value in zip(self._classes, scores.per_class, strict=True)}
        self.rows.append({name: _text(value) for name, value in values.items()})
        with whole_file(self._path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(values))
            writer.writeheader()
            writer.writerows(self.rows)


def _text(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, restkey="", strict=True))
        for row in rows:
            int(row["epoch"])
            if "" in row or None in row.values():
                raise ValueError("a row has more or fewer values than the header")
    except (
        OSError,
        KeyError,
        TypeError,
        ValueError,
        csv.Error,
    ) as error:  # ValueError: also of bytes that are not UTF-8
        raise OutputError(
            f"{path} is damaged ({reason_of(error)}); move it away to resume without its rows, or start again with --overwrite"
        ) from error
    return rows
