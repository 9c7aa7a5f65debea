"""What a run's folder says by itself, whatever it lacks."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path

import pytest

from dlcv.runtime.errors import CheckpointError, UsageError
from dlcv.train.report.record import named, number, read_run


@pytest.fixture
def copied(classified_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(classified_run, tmp_path / "run"))


def test_history_settings_and_checkpoint(classified_run: Path) -> None:
    run = read_run(classified_run)
    curves = run.curves()
    assert (run.name, run.headline, curves.score_name) == ("cnn3", "accuracy", "accuracy")
    assert list(curves.epochs) == [1, 2]
    assert all(map(math.isfinite, [*curves.train_loss, *curves.validation_loss, *curves.score, curves.majority]))
    assert all(map(math.isnan, curves.train_score)), "none were asked for"
    assert (run.settings["learning-rate"], run.settings["model"]) == (5e-3, "cnn3")
    assert number(run.best_row(), "accuracy") == pytest.approx(run.best.scores["accuracy"], rel=1e-5)  # six digits
    assert run.per_class() == pytest.approx(run.best.scores["recall"], rel=1e-5)


def test_scores_on_training_images_join_their_epochs(segmented_run: Path) -> None:
    assert all(map(math.isfinite, read_run(segmented_run).curves().train_score))


def test_an_older_runs_settings_are_those_of_its_last_checkpoint(copied: Path) -> None:
    expected = dict(read_run(copied).settings)
    (copied / "settings.toml").unlink()
    found = read_run(copied).settings
    assert {name: found[name] for name in expected} == expected | {"classes": (), "model-option": {}}
    (copied / "last.pt").unlink()
    assert read_run(copied).settings == {}


def test_an_older_history_lacks_columns_and_a_broken_one_numbers(copied: Path) -> None:
    (copied / "history.csv").write_text("epoch,train_loss,accuracy\n1,0.5,0.25\n2,nan,oops\n,,\n")
    run = read_run(copied)
    curves = run.curves()
    assert list(curves.epochs) == [1, 2]
    assert curves.train_loss[0] == 0.5
    assert math.isnan(curves.train_loss[1]) and math.isnan(curves.score[1]) and math.isnan(curves.majority)
    assert all(map(math.isnan, curves.validation_loss)) and all(map(math.isnan, run.per_class()))


def test_without_a_history_there_are_no_rows(copied: Path) -> None:
    (copied / "history.csv").unlink()
    run = read_run(copied)
    assert not run.rows and run.curves().best() is None and run.best_row() == {}


def test_what_is_no_run_is_told(copied: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no run .*gone; expected the folder that dlcv-train wrote"):
        read_run(tmp_path / "gone")
    with pytest.raises(UsageError, match=r"holds no best\.pt, which dlcv-train writes after the first epoch"):
        read_run(tmp_path)
    (copied / "settings.toml").write_text("epochs: 3")
    with pytest.raises(UsageError, match=rf"^{re.escape(str(copied))}/settings\.toml is not TOML: "):
        read_run(copied)
    (copied / "best.pt").write_bytes((copied / "best.pt").read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"best\.pt"):
        read_run(copied)


def test_names_are_as_short_as_they_can_be(tmp_path: Path) -> None:
    assert named([tmp_path / "a", tmp_path / "b"]) == ["a", "b"]
    assert named([tmp_path / "x/run", tmp_path / "y/run"]) == ["x/run", "y/run"]
    with pytest.raises(UsageError, match="a run is named twice"):
        named([tmp_path / "a", tmp_path / "b" / ".." / "a"])
