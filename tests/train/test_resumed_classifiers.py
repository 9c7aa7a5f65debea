"""A classifier interrupted or killed ends exactly where an uninterrupted one does, and keeps the same checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from training_runs import EPOCHS, STEPS, again, assert_same_run, begin, press_ctrl_c_after

from dlcv.runtime.errors import Interrupted, UsageError
from dlcv.train import run
from dlcv.train.checkpoints.checkpoint import load_checkpoint
from dlcv.train.folder.kept import kept_files
from dlcv.train.loop import Trainer
from dlcv.train.settings.settings import TrainSettings


@pytest.fixture(scope="module", params=["cnn3", "resnet18"])
def settings(request: pytest.FixtureRequest, pictures: Path) -> TrainSettings:
    """A classifier with and one without batch normalisation; two checkpoints are kept."""
    return TrainSettings(
        model=request.param, data=str(pictures), width=0.1, epochs=EPOCHS, batch=10, learning_rate=3e-3, workers=0, device="cpu",
        seed=1, keep_best=2,
    )  # fmt: skip


@pytest.mark.parametrize("steps", [1, STEPS, STEPS + 2, EPOCHS * STEPS - 1])
def test_a_classifier_interrupted_ends_like_an_uninterrupted_one(
    settings: TrainSettings, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """Among the weights are the running statistics of batch normalisation; kept checkpoints are the same two."""
    undo = press_ctrl_c_after(monkeypatch, "_step", steps)
    with pytest.raises(Interrupted):
        begin(settings, tmp_path / "run").train()
    undo()
    torch.manual_seed(99)  # another process has another random state
    again(tmp_path / "run", settings.model).train()
    assert_same_run(tmp_path / "run", whole)
    assert len(kept_files(tmp_path / "run")) == 2
    weights = load_checkpoint(tmp_path / "run" / "last.pt").weights
    statistics = [int(tensor) for name, tensor in weights.items() if name.endswith("num_batches_tracked")]
    assert set(statistics) == ({EPOCHS * STEPS} if settings.model == "resnet18" else set())


def test_a_classifier_killed_before_its_position_is_saved(
    settings: TrainSettings, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kept checkpoint of an epoch that `last.pt` does not know of is made again, and what it replaced is still there."""
    original = Trainer.save_last

    def dies(self: Trainer) -> None:
        if self.epoch == EPOCHS + 1:
            raise RuntimeError("killed")
        original(self)

    monkeypatch.setattr(Trainer, "save_last", dies)
    with pytest.raises(RuntimeError, match="killed"):
        begin(settings, tmp_path / "run").train()
    monkeypatch.undo()
    trainer = again(tmp_path / "run", settings.model)
    assert all(path.exists() for path in trainer.kept.paths) and len(trainer.kept.paths) == 2
    trainer.train()
    assert_same_run(tmp_path / "run", whole)


def test_only_a_lower_validation_loss_is_kept(settings: TrainSettings, tmp_path: Path) -> None:
    trainer = begin(settings, tmp_path / "run")
    scores = trainer.run.validation.tally().scores()
    for loss, expected in ((0.9, [1]), (0.5, [1, 2]), (float("nan"), [1, 2]), (0.7, [2, 4]), (0.8, [2, 4])):
        trainer._finish_epoch(scores, loss)
        assert [int(path.stem[6:]) for path in kept_files(tmp_path / "run")] == expected
    assert load_checkpoint(tmp_path / "run" / "kept" / "epoch-0004.pt").scores["validation_loss"] == 0.7


def test_fewer_or_more_may_be_kept_on_resume(settings: TrainSettings, whole: Path, tmp_path: Path) -> None:
    for count, expected in ((1, 1), (3, 3)):
        shutil.copytree(whole, tmp_path / str(count))
        again(tmp_path / str(count), settings.model, keep_best=count, epochs=EPOCHS + 1).train()
        assert len(kept_files(tmp_path / str(count))) == expected


def test_kept_checkpoints_without_a_run_are_not_lost(settings: TrainSettings, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "kept", tmp_path / "kept")
    with pytest.raises(UsageError, match="holds a run already"):
        begin(settings, tmp_path)
    assert len(kept_files(tmp_path)) == 2
    run.start(settings, tmp_path, overwrite=True, say=lambda _: None)
    assert kept_files(tmp_path) == []
