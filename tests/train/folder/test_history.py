"""history.csv: a row an epoch, whole after each."""

from __future__ import annotations

import csv
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dlcv.runtime.errors import OutputError
from dlcv.runtime.metrics import ClassificationTally, Scores
from dlcv.runtime.metrics.segmentation import scores_of
from dlcv.train.folder.history import POSITION, History

CLASSES = ("urban", "water", "unknown")
SCORES = scores_of(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]], np.int64), uncounted=[2])


def add(history: History, epoch: int, scores: Scores = SCORES) -> None:
    history.add(
        scores,
        epoch=epoch,
        step=10 * epoch,
        learning_rate=1e-3,
        seconds=2.5,
        data_wait=0.125,
        train_loss=0.7,
        validation_loss=0.8,
    )


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_holds_all_columns(tmp_path: Path) -> None:
    add(History(tmp_path / "history.csv", CLASSES), 1)
    (row,) = rows(tmp_path / "history.csv")
    assert list(row) == [
        *POSITION,
        "mean_iou",
        "pixel_accuracy",
        "majority_mean_iou",
        "iou_urban",
        "iou_water",
        "iou_unknown",
    ]
    assert row["epoch"] == "1" and row["step"] == "10" and float(row["validation_loss"]) == 0.8
    assert math.isclose(float(row["iou_urban"]), 3 / 4) and math.isclose(float(row["iou_water"]), 4 / 5)
    assert math.isnan(float(row["iou_unknown"]))
    assert math.isclose(float(row["mean_iou"]), 0.775) and math.isclose(float(row["pixel_accuracy"]), 7 / 8)
    assert math.isclose(float(row["majority_mean_iou"]), (4 / 8 + 0) / 2)


def test_the_file_is_whole_after_each_epoch(tmp_path: Path) -> None:
    history = History(tmp_path / "history.csv", CLASSES)
    for epoch in (1, 2, 3):
        add(history, epoch)
        assert [row["epoch"] for row in rows(tmp_path / "history.csv")] == [str(e) for e in range(1, epoch + 1)]
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]


def test_rows_after_the_point_of_resuming_are_dropped(tmp_path: Path) -> None:
    first = History(tmp_path / "history.csv", CLASSES)
    for epoch in (1, 2, 3):
        add(first, epoch)
    before = rows(tmp_path / "history.csv")
    again = History(tmp_path / "history.csv", CLASSES, epoch=1)
    assert again.rows == before[:1]
    add(again, 2)
    assert rows(tmp_path / "history.csv") == before[:2]


def test_a_new_run_starts_empty(tmp_path: Path) -> None:
    add(History(tmp_path / "history.csv", CLASSES), 1)
    assert History(tmp_path / "history.csv", CLASSES).rows == []
    assert History(tmp_path / "missing.csv", CLASSES, epoch=3).rows == []


def test_a_row_of_classification(tmp_path: Path) -> None:
    tally = ClassificationTally(3)
    for truth, predicted in ((0, 0), (0, 0), (0, 1), (1, 1)):
        tally.add(np.array(truth), np.eye(3, dtype=np.float32)[predicted])
    add(History(tmp_path / "history.csv", CLASSES), 1, tally.scores())
    (row,) = rows(tmp_path / "history.csv")
    figures = ["accuracy", "balanced_accuracy", "top_5_accuracy", "majority_accuracy"]
    assert list(row) == [*POSITION, *figures, "recall_urban", "recall_water", "recall_unknown"]
    assert (row["accuracy"], row["majority_accuracy"], row["top_5_accuracy"]) == ("0.75", "0.75", "1")
    assert math.isclose(float(row["balanced_accuracy"]), (2 / 3 + 1) / 2, rel_tol=1e-5)  # six digits
    assert (row["recall_urban"], row["recall_water"], row["recall_unknown"]) == ("0.666667", "1", "nan")


def test_class_names_with_commas_and_quotes_stay_columns(tmp_path: Path) -> None:
    history = History(tmp_path / "history.csv", ('park, "green"', "water", "unknown"))
    add(history, 1)
    (row,) = rows(tmp_path / "history.csv")
    assert math.isclose(float(row['iou_park, "green"']), 3 / 4)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"epoch,step\n1,\xff\n", "codec can't decode byte 0xff"),
        (b"step,epoch_\n1,2\n", "'epoch'"),
        (b"epoch,step\nfirst,2\n", "invalid literal for int"),
        (b"epoch,step\n" + b"9" * 5000 + b",2\n", "4300"),
        (b"epoch,step\n1\n", "more or fewer values than the header"),
        (b"epoch,step\n1,2,3\n", "more or fewer values than the header"),
    ],
)
def test_a_damaged_history_is_told_in_a_line(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "history.csv").write_bytes(content)
    with pytest.raises(
        OutputError, match=r"history\.csv is damaged \(.*\); move it away to resume without its rows"
    ) as told:
        History(tmp_path / "history.csv", CLASSES, epoch=3)
    assert reason in str(told.value)
    assert "\n" not in str(told.value)
    History(tmp_path / "history.csv", CLASSES)  # a new run does not read it


def test_names_of_classes_are_utf_8_whatever_the_machine_speaks(tmp_path: Path) -> None:
    """A process of its own: the encoding of files is settled when Python starts."""
    code = """
import sys
from pathlib import Path
from dlcv.runtime.metrics import ClassificationTally
from dlcv.train.folder.history import POSITION, History
for epoch in (1, 2):
    history = History(Path(sys.argv[1]), ("\\u6d77",), epoch=epoch - 1)
    history.add(ClassificationTally(1).scores(), **dict.fromkeys(POSITION, epoch))
"""
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", code, str(tmp_path / "history.csv")]
    subprocess.run(command, check=True, timeout=600, env={**os.environ, **plain})
    text = (tmp_path / "history.csv").read_text("utf-8")
    assert "recall_\u6d77" in text and len(text.splitlines()) == 3
