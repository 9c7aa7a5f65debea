"""Ctrl-C, SIGTERM or a kill at any point: a resumed run ends exactly where an uninterrupted one does."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from training_runs import EPOCHS, STEPS, again, assert_same_run, begin, history, press_ctrl_c_after, small_settings

from dlcv.runtime.cli import termination
from dlcv.runtime.errors import Interrupted
from dlcv.train import loop, validation
from dlcv.train.checkpoints.checkpoint import load_checkpoint
from dlcv.train.data import loading
from dlcv.train.loop import Trainer
from dlcv.train.settings.settings import TrainSettings


@pytest.fixture(scope="module")
def settings(scenes: Path) -> TrainSettings:
    return small_settings(scenes)


@pytest.mark.parametrize("steps", [1, STEPS, STEPS + 2, EPOCHS * STEPS - 1])
def test_interrupted_after_any_step_it_ends_like_an_uninterrupted_run(
    settings: TrainSettings, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    undo, handler = press_ctrl_c_after(monkeypatch, "_step", steps), signal.getsignal(signal.SIGINT)
    epoch, step = divmod(steps - 1, STEPS)
    with pytest.raises(
        Interrupted,
        match=rf"interrupted; .*last\.pt is saved at epoch {epoch + 1}, step {step + 1} of 4; go on with the same command and --resume",
    ) as told:
        begin(settings, tmp_path / "run").train()
    assert told.value.exit_code == 130 and signal.getsignal(signal.SIGINT) is handler
    undo()
    torch.manual_seed(99)  # another process has another random state
    again(tmp_path / "run").train()
    assert_same_run(tmp_path / "run", whole)


def test_a_model_with_dropout_interrupted_drops_the_same(
    settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {"model": "fcn32s-fc1x1", "epochs": 2}
    begin(settings, tmp_path / "whole", **changes).train()
    undo = press_ctrl_c_after(monkeypatch, "_step", STEPS + 1)
    with pytest.raises(Interrupted):
        begin(settings, tmp_path / "run", **changes).train()
    undo()
    torch.manual_seed(99)
    again(tmp_path / "run", "fcn32s-fc1x1").train()
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_interrupted_in_validation(
    settings: TrainSettings, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = validation.answered

    def pressed(*args: Any, advance: Callable[[int], None], **options: Any) -> Any:
        done: list[int] = []

        def first(images: int) -> None:
            done.append(images)
            if len(done) == 1:  # what is under way is still reported after it
                os.kill(os.getpid(), signal.SIGINT)
            advance(images)

        return original(*args, advance=first, **options)

    monkeypatch.setattr(validation, "answered", pressed)
    with pytest.raises(Interrupted, match="epoch 1, step 4 of 4"):
        begin(settings, tmp_path / "run").train()
    assert not (tmp_path / "run" / "history.csv").exists()
    monkeypatch.undo()
    again(tmp_path / "run").train()
    assert_same_run(tmp_path / "run", whole)


def test_interrupted_between_two_epochs(
    settings: TrainSettings, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undo = press_ctrl_c_after(monkeypatch, "_finish_epoch", 2)
    with pytest.raises(Interrupted, match="epoch 3, step 0 of 4"):
        begin(settings, tmp_path / "run").train()
    undo()
    assert len(history(tmp_path / "run")) == 2
    again(tmp_path / "run").train()
    assert_same_run(tmp_path / "run", whole)


def test_interrupted_twice(
    settings: TrainSettings, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for calls, start in ((2, lambda: begin(settings, tmp_path / "run")), (4, lambda: again(tmp_path / "run"))):
        undo = press_ctrl_c_after(monkeypatch, "_step", calls)
        with pytest.raises(Interrupted):
            start().train()
        undo()
    again(tmp_path / "run").train()
    assert_same_run(tmp_path / "run", whole)


def test_a_second_ctrl_c_interrupts_at_once(
    settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(*_: Any) -> float:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the second one did nothing")

    monkeypatch.setattr(Trainer, "_step", step)
    with pytest.raises(KeyboardInterrupt):
        begin(settings, tmp_path / "run").train()


def test_sigterm_is_taken_like_ctrl_c(
    settings: TrainSettings, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Job schedulers and torchrun send it before they kill, one after the other."""
    original, handler = Trainer._step, signal.getsignal(signal.SIGTERM)
    save, given_time = loop.save_checkpoint, []

    def step(self: Trainer, *args: Any) -> float:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *args)

    def noted(*args: Any) -> None:
        given_time.append(bool(termination._saving))
        save(*args)

    monkeypatch.setattr(Trainer, "_step", step)
    monkeypatch.setattr(loop, "save_checkpoint", noted)
    with pytest.raises(Interrupted, match="saved at epoch 1, step 1 of 4"):
        begin(settings, tmp_path / "run").train()
    monkeypatch.undo()
    assert given_time == [True] and not termination._saving
    assert signal.getsignal(signal.SIGTERM) is handler
    again(tmp_path / "run").train()
    assert_same_run(tmp_path / "run", whole)


def test_workers_leave_ctrl_c_to_the_training_process() -> None:
    before, threads = signal.getsignal(signal.SIGINT), torch.get_num_threads()
    try:
        loading.quiet_worker(0)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
        torch.set_num_threads(threads)


def test_killed_between_history_and_checkpoint(
    settings: TrainSettings, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row of an epoch that `last.pt` does not know of is dropped and made again."""
    original = Trainer.save_last

    def dies(self: Trainer) -> None:
        if self.epoch == 3:
            raise RuntimeError("killed")
        original(self)

    monkeypatch.setattr(Trainer, "save_last", dies)
    with pytest.raises(RuntimeError, match="killed"):
        begin(settings, tmp_path / "run").train()
    monkeypatch.undo()
    assert len(history(tmp_path / "run")) == 2
    again(tmp_path / "run").train()
    assert_same_run(tmp_path / "run", whole)


def test_starting_weights_are_not_applied_again(
    settings: TrainSettings, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    init = tmp_path / "init.pt"
    init.write_bytes((whole / "best.pt").read_bytes())
    undo = press_ctrl_c_after(monkeypatch, "_step", 3)
    with pytest.raises(Interrupted):
        begin(settings, tmp_path / "run", init=str(init)).train()
    undo()
    init.unlink()
    saved = load_checkpoint(tmp_path / "run" / "last.pt")
    trainer = again(tmp_path / "run")
    assert all(torch.equal(t, saved.weights[name]) for name, t in trainer.model.state_dict().items())
    trainer.train()
    assert load_checkpoint(tmp_path / "run" / "last.pt").training["settings"]["init"] == str(init)


def test_more_epochs_go_on_from_the_last(settings: TrainSettings, tmp_path: Path) -> None:
    begin(settings, tmp_path / "run", epochs=1).train()
    before = history(tmp_path / "run")
    trainer = again(tmp_path / "run", epochs=2)
    assert (trainer.epoch, trainer.step_in_epoch, trainer.steps) == (2, 0, STEPS)
    trainer.train()
    after = history(tmp_path / "run")
    assert after[0] == before[0] and [row["epoch"] for row in after] == ["1", "2"]
    assert load_checkpoint(tmp_path / "run" / "last.pt").training["settings"]["epochs"] == 2


def test_resumed_on_fewer_tiles(
    settings: TrainSettings, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undo = press_ctrl_c_after(monkeypatch, "_step", 3)
    with pytest.raises(Interrupted):
        begin(settings, tmp_path / "run", epochs=1).train()
    undo()
    shutil.copytree(scenes, tmp_path / "fewer")
    for path in sorted((tmp_path / "fewer" / "train").iterdir())[
        :10
    ]:  # five of nine pairs: two batches are left, three were done
        path.unlink()
    assert again(tmp_path / "run", data=str(tmp_path / "fewer")).train() is not None
    assert len(history(tmp_path / "run")) == 1
