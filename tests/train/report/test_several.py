"""Several runs on one page."""

from __future__ import annotations

import csv
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from dlcv.runtime.errors import UsageError
from dlcv.train.report.record import RunRecord, named, read_run
from dlcv.train.report.several import differing, write_comparison


def rows(path: Path) -> list[list[str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.fixture
def two(segmented_run: Path, tmp_path: Path) -> list[RunRecord]:
    """The run, and a copy that was asked for something else and came out elsewhere."""
    other = Path(shutil.copytree(segmented_run, tmp_path / "<b>weighted"))
    text = (other / "settings.toml").read_text()
    (other / "settings.toml").write_text(
        text.replace('loss = "cross-entropy"', 'loss = "focal"').replace("seed = 1", "seed = 2")
    )
    history = (other / "history.csv").read_text().splitlines()
    (other / "history.csv").write_text("\n".join(history[:3]) + "\n")
    folders = [segmented_run, other]
    return [read_run(folder, name) for folder, name in zip(folders, named(folders), strict=True)]


def test_settings_that_differ_are_told_and_no_others(two: list[RunRecord]) -> None:
    assert differing(two) == [("loss", "cross-entropy", "focal"), ("seed", "1", "2")]
    older = RunRecord(two[0].folder, "older", two[0].best, {"seed": 1}, two[0].rows, {})
    assert differing([two[0], older]) == []
    assert ("loss", "cross-entropy", "focal", "(not kept)") in differing([*two, older])


def test_scores_and_classes_side_by_side(two: list[RunRecord], tmp_path: Path) -> None:
    said: list[str] = []
    page = write_comparison(two, tmp_path / "out", said.append)
    assert not said
    names = {"index.html", "curves.png", "curves.csv", "classes.png", "classes.csv", "scores.csv", "settings.csv"}
    assert {path.name for path in page.parent.iterdir()} == names
    header, first, _ = rows(page.parent / "scores.csv")
    assert header == ["run", "mean IoU", "pixel accuracy", "majority mean IoU", "train loss", "validation loss", "best epoch", "epochs", "minutes"]  # fmt: skip
    assert float(first[1]) == pytest.approx(two[0].best.scores["mean_iou"], rel=1e-5)  # six digits
    seconds = sum(float(row["seconds"]) for row in two[0].rows)
    assert float(first[-1]) == pytest.approx(seconds / 60, rel=1e-5)
    classes = rows(page.parent / "classes.csv")
    assert classes[0] == ["class", *(run.name for run in two)]
    found = [float(row[1] or "nan") for row in classes[1:]]
    assert found == pytest.approx(two[0].best.scores["iou"], rel=1e-5, nan_ok=True)
    assert {row[0] for row in rows(page.parent / "curves.csv")[1:]} == {run.name for run in two}


def test_in_a_browser(browser: Any, two: list[RunRecord], tmp_path: Path) -> None:
    page = write_comparison(two, tmp_path / "out", print)
    browser.open(page)
    browser.wait("[...document.querySelectorAll('img')].every((i) => i.complete && i.naturalWidth > 0)")
    assert browser.texts("h1") == ["2 runs compared"]
    assert browser.texts("h2") == ["Best scores", "Settings that differ", "Curves", "Classes"]
    assert browser.texts("thead th")[0] == "run"
    assert [run.name for run in two] == browser.texts("section:first-of-type tbody th")
    assert browser.js("document.querySelectorAll('b, th i').length") == 0
    assert (browser.problems, browser.dialogs) == ([], [])


def test_a_run_without_a_history_is_named(two: list[RunRecord], tmp_path: Path) -> None:
    (two[1].folder / "history.csv").unlink()
    said: list[str] = []
    page = write_comparison([two[0], read_run(two[1].folder)], tmp_path / "out", said.append)
    assert said == ["<b>weighted kept no history.csv: it has no curves and no figures here"]
    _, _, without = rows(page.parent / "scores.csv")
    assert without[1:] == ["", "", "", "", "", "", "0", "0"], "numbers or nothing, for programs that read it"
    assert "&lt;b&gt;weighted kept no history.csv" in page.read_text("utf-8")


def test_runs_of_other_classes_share_a_table(two: list[RunRecord], tmp_path: Path) -> None:
    best = two[1].best
    classes = ("new", *best.card.classes[1:])
    card = best.card.changed(classes=classes)
    other = RunRecord(two[1].folder, "other", type(best)(card, best.weights, best.dataset, scores=best.scores), two[1].settings, two[1].rows, {})  # fmt: skip
    page = write_comparison([two[0], other], tmp_path / "out", print)
    found = {row[0]: row[1:] for row in rows(page.parent / "classes.csv")[1:]}
    assert found["new"] == ["", ""]
    assert found[two[0].best.card.classes[0]][1] == ""
    assert len(found) == len(classes) + 1


def test_runs_of_two_tasks_are_refused(two: list[RunRecord], classified_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\(segmentation\) and cnn3 \(classification\) have no score in common"):
        write_comparison([two[0], read_run(classified_run)], tmp_path / "out", print)
    assert not (tmp_path / "out").exists()
    assert math.isfinite(two[0].best.scores["mean_iou"])
