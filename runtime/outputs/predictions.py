"""Predictions as rows: a line of CSV, or a JSON object a line. One physical line an image (see `journal.py`)."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.records.journal import csv_line, csv_rows, csv_values, unreadable, whole_lines

DIGITS = 6
"""Of a probability, significant; float32 has a little over seven."""


@dataclass(frozen=True)
class Prediction:
    """What a classifier says about an image.

    Attributes:
        path: the tile's key (see `tiles.py`).
        index: of the most probable class.
        top: (class, probability), the most probable first; of equal ones the lower index first.
    """

    path: str
    index: int
    top: tuple[tuple[str, float], ...]


def prediction_of(path: str, probs: NDArray[np.float32], classes: Sequence[str], top_k: int) -> Prediction:
    """The `top_k` most probable classes of `probs`, float32 (C,), 0..1."""
    best = np.argsort(-probs, kind="stable")[:top_k].tolist()
    return Prediction(path, best[0], tuple((classes[k], float(f"{probs[k]:.{DIGITS}g}")) for k in best))


class PredictionFormat(ABC):
    """How predictions stand in a file.

    Attributes:
        name: of the file.
        header: its first line; empty for none.
    """

    name: str
    header: str = ""

    @abstractmethod
    def line(self, prediction: Prediction) -> str:
        """A prediction as one physical line, with its line end."""

    @abstractmethod
    def key_of(self, line: str) -> str | None:
        """The tile's key in a line; None for what is no prediction."""

    @abstractmethod
    def classes(self, path: Path) -> Iterator[tuple[str, str]]:
        """Key and most probable class of each whole row.

        Raises:
            OutputError: when the file cannot be read, or does not hold predictions of this format.
        """


class CsvPredictions(PredictionFormat):
    """`predictions.csv`: path, class, probability, class_2, probability_2, ... up to `top_k`; escaped as the manifest."""

    name = "predictions.csv"

    def __init__(self, top_k: int) -> None:
        more = [column for k in range(2, top_k + 1) for column in (f"class_{k}", f"probability_{k}")]
        self._columns = ("path", "class", "probability", *more)
        self.header = csv_line(self._columns)

    def line(self, prediction: Prediction) -> str:
        pairs = [text for name, value in prediction.top for text in (name, f"{value:.{DIGITS}g}")]
        return csv_line((prediction.path, *pairs))

    def key_of(self, line: str) -> str | None:
        values = csv_values(line)
        return values[0] if len(values) == len(self._columns) else None

    def classes(self, path: Path) -> Iterator[tuple[str, str]]:
        for values in csv_rows(path, self._columns, "a table of predictions"):
            yield values[0], values[1]


class JsonLinesPredictions(PredictionFormat):
    """`predictions.jsonl`: {"path", "class", "index", "probability", "top": [{"class", "probability"}, ...]}, in ASCII.

    A byte of a file name that is not UTF-8 is a lone surrogate (`"\\udcff"`), as Python's `os.fsdecode` gives it.
    """

    name = "predictions.jsonl"

    def __init__(self, top_k: int) -> None:
        del top_k  # a line holds as many as its prediction

    def line(self, prediction: Prediction) -> str:
        (name, probability), top = prediction.top[0], prediction.top
        values = {"path": prediction.path, "class": name, "index": prediction.index, "probability": probability}
        values["top"] = [{"class": name, "probability": probability} for name, probability in top]
        return json.dumps(values, ensure_ascii=True) + "\n"

    def key_of(self, line: str) -> str | None:
        values = _object(line)
        return values["path"] if values else None

    def classes(self, path: Path) -> Iterator[tuple[str, str]]:
        for line in whole_lines(path):
            values = _object(line)
            if values is None:
                raise unreadable(path, ValueError("a line that is no prediction of dlcv-infer"))
            yield values["path"], values["class"]


FORMATS: dict[str, type[CsvPredictions] | type[JsonLinesPredictions]] = {
    "csv": CsvPredictions,
    "jsonl": JsonLinesPredictions,
}


def _object(line: str) -> dict[str, Any] | None:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(values, dict) and all(isinstance(values.get(name), str) for name in ("path", "class"))
    return values if whole else None
