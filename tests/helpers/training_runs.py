"""Small training runs: begun, interrupted, resumed, and held against each other bit for bit."""

from __future__ import annotations

import csv
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dlcv.train import run
from dlcv.train.checkpoints.checkpoint import load_checkpoint
from dlcv.train.folder.kept import kept_files
from dlcv.train.loop import Trainer
from dlcv.train.settings.settings import TrainSettings

EPOCHS, STEPS = 3, 4  # 9 tiles in batches of 2: the ninth is left out; 40 pictures in batches of 10


def small_settings(scenes: Path) -> TrainSettings:
    """Three epochs of four steps of a narrow fcn8s."""
    return TrainSettings(
        data=str(scenes), width=0.05, epochs=EPOCHS, batch=2, crop=64, learning_rate=3e-3, workers=0, device="cpu", seed=1
    )  # fmt: skip


def begin(settings: TrainSettings, folder: Path, **changes: Any) -> Trainer:
    return run.start(TrainSettings(**settings.to_dict() | changes), folder, overwrite=False, say=lambda _: None)


def again(folder: Path, model: str = "fcn8s", **given: Any) -> Trainer:
    return run.resume(folder, {"model": model, **given}, say=lambda _: None)


def history(folder: Path) -> list[dict[str, str]]:
    with open(folder / "history.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k not in ("seconds", "data_wait")} for row in csv.DictReader(file)]


def assert_same_run(one: Path, other: Path) -> None:
    """The same history, split, best, kept and last weights, and the same optimizer, bit for bit."""
    assert history(one) == history(other)
    assert (one / "split.csv").read_bytes() == (other / "split.csv").read_bytes()
    kept = [[path.relative_to(folder).as_posix() for path in kept_files(folder)] for folder in (one, other)]
    assert kept[0] == kept[1]
    for name in ("best.pt", "last.pt", *kept[0]):
        a, b = load_checkpoint(one / name), load_checkpoint(other / name)
        assert all(torch.equal(a.weights[key], b.weights[key]) for key in a.weights)
        assert repr(a.scores) == repr(b.scores)  # as text: nan is equal to nan there
    a_state, b_state = (load_checkpoint(folder / "last.pt").training for folder in (one, other))
    assert {k: a_state[k] for k in ("epoch", "step_in_epoch", "loss_sum", "best", "kept")} == {
        k: b_state[k] for k in ("epoch", "step_in_epoch", "loss_sum", "best", "kept")
    }
    assert torch.equal(a_state["rng"], b_state["rng"])
    for index, moments in a_state["optimizer"]["state"].items():
        assert all(torch.equal(moments[key], b_state["optimizer"]["state"][index][key]) for key in moments)


def press_ctrl_c_after(monkeypatch: pytest.MonkeyPatch, method: str, calls: int) -> Callable[[], None]:
    """A real SIGINT to this process at the end of the `calls`-th call of a trainer's method; gives what undoes it."""
    original, count = getattr(Trainer, method), 0

    def counted(self: Trainer, *args: Any) -> Any:
        nonlocal count
        result = original(self, *args)
        count += 1
        if count == calls:
            os.kill(os.getpid(), signal.SIGINT)
        return result

    monkeypatch.setattr(Trainer, method, counted)
    return monkeypatch.undo
