"""Event files and scores on training images: what they say is what the run says."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlcv.runtime.datasets.classes.images import ClassificationSet
from dlcv.runtime.errors import MissingPackageError
from dlcv.runtime.pipeline.settings import PipelineSettings
from dlcv.runtime.scoring.evaluation import evaluate
from dlcv.train import run
from dlcv.train.checkpoints.session import open_checkpoint
from dlcv.train.loop import Trainer
from dlcv.train.settings.settings import TrainSettings

Start = Callable[..., Trainer]


@pytest.fixture(scope="module")
def settings(pictures: Path) -> TrainSettings:
    return TrainSettings(
        model="cnn3", data=str(pictures), width=0.1, epochs=3, batch=8, learning_rate=5e-3, workers=0, device="cpu", seed=1
    )  # fmt: skip


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Name -> (step, value), as TensorBoard itself reads them."""
    pytest.importorskip("tensorboard", reason="the tensorboard extra is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder / "tensorboard"))
    read.Reload()
    return {name: [(each.step, each.value) for each in read.Scalars(name)] for name in read.Tags()["scalars"]}


def assert_events_are_the_history(folder: Path) -> None:
    found, history = events(folder), rows(folder / "history.csv")
    for name, column in (
        ("loss/train", "train_loss"),
        ("validation/accuracy", "accuracy"),
        ("recall/sea", "recall_sea"),
    ):
        expected = [(int(row["epoch"]), float(row[column])) for row in history]
        assert [step for step, _ in found[name]] == [step for step, _ in expected]
        for (_, value), (_, wanted) in zip(found[name], expected, strict=True):
            assert value == pytest.approx(wanted, rel=1e-5), "six digits in the history, float32 in the events"


def test_event_files_read_back(start: Start, tmp_path: Path) -> None:
    start(tmp_path / "run", tensorboard=True, score_training=8).train()
    assert_events_are_the_history(tmp_path / "run")
    assert len(events(tmp_path / "run")["train/accuracy"]) == 3


def test_a_resumed_runs_events_have_each_epoch_once(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, calls = start(tmp_path / "run", tensorboard=True), []

    def killed_at_the_second(self: Trainer, *args: Any) -> None:
        calls.append(1)
        if len(calls) == 2:  # its events are written, its position is not
            raise KeyboardInterrupt
        original(self, *args)

    original = Trainer._finish_epoch
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_finish_epoch", killed_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            trainer.train()
    assert [step for step, _ in events(tmp_path / "run")["loss/train"]] == [1, 2]
    run.resume(tmp_path / "run", {"model": "cnn3"}, say=lambda _: None).train()
    assert_events_are_the_history(tmp_path / "run")


def test_a_new_run_in_the_folder_forgets_them(start: Start, tmp_path: Path) -> None:
    start(tmp_path / "run", tensorboard=True, score_training=4, epochs=1).train()
    (tmp_path / "run/tensorboard/mine.txt").write_text("")
    start(tmp_path / "run", epochs=1, overwrite=True)
    assert [path.name for path in (tmp_path / "run/tensorboard").iterdir()] == ["mine.txt"]
    assert not (tmp_path / "run/training-scores.csv").exists()


def test_without_tensorboard_the_command_is_told_before_anything_is_written(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(
        MissingPackageError,
        match=r"write event files \(--tensorboard\); install it with: pip install 'dlcv-edge\[tensorboard\]'",
    ):
        start(tmp_path / "run", tensorboard=True)
    assert not (tmp_path / "run").exists()


def test_training_images_are_scored_by_the_model_of_the_epoch(
    start: Start, tmp_path: Path, split_pictures: tuple[ClassificationSet, ClassificationSet]
) -> None:
    start(tmp_path / "run", score_training=12, epochs=2).train()
    found = rows(tmp_path / "run/training-scores.csv")
    assert [row["epoch"] for row in found] == ["1", "2"]
    session = open_checkpoint(tmp_path / "run/last.pt", device="cpu")
    expected = evaluate(session, split_pictures[0].evenly(12), PipelineSettings(batch=8), quiet=True).scores()
    assert float(found[1]["accuracy"]) == pytest.approx(expected.headline, rel=1e-5)  # six digits in the CSV
    assert not math.isnan(float(found[1]["recall_sea"]))


def test_a_run_that_is_asked_for_nothing_writes_nothing_more(start: Start, tmp_path: Path) -> None:
    start(tmp_path / "run", epochs=1).train()
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"best.pt", "last.pt", "history.csv", "settings.toml", "split.csv", "probe"}
