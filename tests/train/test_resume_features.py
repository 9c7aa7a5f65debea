"""With each feature of the loop, a run that is interrupted and resumed ends bit for bit like one that was not."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from training_runs import history

from dlcv.runtime.errors import Interrupted
from dlcv.train import run
from dlcv.train.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from dlcv.train.loop import Trainer
from dlcv.train.settings.settings import TrainSettings

FEATURES: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": "sgd"},
    "cosine": {"schedule": "cosine", "warmup": "3"},
    "constant": {"schedule": "constant", "warmup": "1epoch"},
    "accumulate": {"accumulate": 2},
    "unclipped": {"clip_norm": 0.0},
    "bf16": {"amp": "bf16"},
    "fp16": {"amp": "fp16"},
    "contiguous": {"channels_last": False},
    "ema": {"ema": 0.9, "keep_best": 1},
    "patience": {"patience": 2},
    "focal": {"loss": "focal"},
    "dice": {"loss": "dice", "model": "fcn8s", "batch": 2, "crop": 64},
    "balanced": {"balanced_sampling": True},
    "balanced masks": {"balanced_sampling": True, "model": "fcn8s", "batch": 2, "crop": 64},
    "all": {
        "optimizer": "sgd", "schedule": "cosine", "accumulate": 2, "amp": "fp16", "ema": 0.9, "patience": 3, "loss": "focal",
        "balanced_sampling": True, "keep_best": 1, "model": "resnet18",
    },
}  # fmt: skip


def settings_of(feature: str, pictures: Path, scenes: Path) -> TrainSettings:
    changes = FEATURES[feature]
    data = scenes if changes.get("model") == "fcn8s" else pictures
    settings = TrainSettings(
        model="cnn3",
        data=str(data),
        width=0.05,
        epochs=2,
        batch=10,
        learning_rate=3e-3,
        workers=0,
        device="cpu",
        seed=1,
    )
    return replace(settings, **changes)


def begin(settings: TrainSettings, folder: Path) -> Trainer:
    return run.start(settings, folder, overwrite=False, say=lambda _: None)


def interrupted_after(steps: int, trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    original, done = Trainer._step, []

    def step(self: Trainer, *args: Any) -> float:
        done.append(original(self, *args))
        if len(done) == steps:
            os.kill(os.getpid(), signal.SIGINT)
        return done[-1]

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", step)
        with pytest.raises(Interrupted):
            trainer.train()


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Every leaf of nested values, by its path."""
    if isinstance(value, Mapping):
        return {k: v for key, each in value.items() for k, v in flat(each, f"{name}/{key}").items()}
    if isinstance(value, (list, tuple)):
        return {k: v for key, each in enumerate(value) for k, v in flat(each, f"{name}/{key}").items()}
    return {name: value}


def assert_same(one: Path, other: Path) -> None:
    """All of both checkpoints and the history, but for the seconds."""
    for name in ("last.pt", "best.pt"):
        a, b = (
            flat({"weights": c.weights, "training": c.training, "scores": c.scores})
            for c in (load_checkpoint(folder / name) for folder in (one, other))
        )
        assert a.keys() == b.keys()
        for key, value in a.items():
            same = torch.equal(value, b[key]) if isinstance(value, torch.Tensor) else repr(value) == repr(b[key])
            assert same, key
    assert history(one) == history(other)


@pytest.mark.parametrize("feature", FEATURES)
def test_interrupted_and_resumed_it_ends_the_same(
    feature: str, pictures: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(feature, pictures, scenes)
    begin(settings, tmp_path / "whole").train()
    trainer = begin(settings, tmp_path / "run")
    interrupted_after(3, trainer, monkeypatch)
    assert not (tmp_path / "run" / "history.csv").exists() or trainer.batches.accumulate == 2
    torch.manual_seed(99)  # another process has another random state
    resumed = run.resume(tmp_path / "run", {"model": settings.model}, say=lambda _: None)
    assert resumed.run.settings == trainer.run.settings
    resumed.train()
    assert_same(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize("feature", [f for f in FEATURES if f not in ("patience", "all")])
def test_each_feature_makes_another_run(feature: str, pictures: Path, scenes: Path, tmp_path: Path) -> None:
    """None of them is passed over: weights after an epoch differ from those of a run without it."""
    settings = replace(settings_of(feature, pictures, scenes), epochs=1)
    plain = replace(TrainSettings(), **{name: getattr(settings, name) for name in (
        "model", "data", "width", "epochs", "batch", "crop", "learning_rate", "workers", "device", "seed")})  # fmt: skip
    weights = []
    for name, each in (("with", settings), ("without", plain)):
        begin(each, tmp_path / name).train()
        weights.append(load_checkpoint(tmp_path / name / "last.pt").weights)
    assert any(not torch.equal(value, weights[1][key]) for key, value in weights[0].items())


def test_a_run_of_the_first_version_goes_on(
    pictures: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `last.pt` with the settings and the state of 0.1.0 alone resumes to the same end."""
    settings = settings_of("patience", pictures, scenes)
    settings = replace(settings, patience=0)
    begin(settings, tmp_path / "whole").train()
    interrupted_after(6, begin(settings, tmp_path / "run"), monkeypatch)
    last = load_checkpoint(tmp_path / "run" / "last.pt")
    first = (
        "model", "data", "dataset", "classes", "width", "options", "epochs", "batch", "crop", "short_side", "flips", "least_area",
        "learning_rate", "weight_decay", "loss", "keep_best", "validation_share", "seed", "workers", "device", "init",
    )  # fmt: skip
    state = ("optimizer", "epoch", "step_in_epoch", "loss_sum", "best", "kept", "rng", "cuda_rng")
    training = {name: last.training[name] for name in state}
    training["settings"] = {name: last.training["settings"][name] for name in first}
    save_checkpoint(tmp_path / "run" / "last.pt", replace(last, training=training))
    lines = (tmp_path / "run" / "history.csv").read_text().splitlines()
    old = [line.split(",")[:4] + line.split(",")[5:] for line in lines]  # no column of waiting
    (tmp_path / "run" / "history.csv").write_text("\n".join(",".join(line) for line in old) + "\n")
    run.resume(tmp_path / "run", {"model": "cnn3"}, say=lambda _: None).train()
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_last_holds_the_averaged_weights_as_its_result(pictures: Path, scenes: Path, tmp_path: Path) -> None:
    trainer = begin(settings_of("ema", pictures, scenes), tmp_path / "run")
    trainer.train()
    last = load_checkpoint(tmp_path / "run" / "last.pt")
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(last.training["weights"][name], value)
        assert torch.equal(last.weights[name], trainer.result.state_dict()[name])
    assert any(not torch.equal(last.weights[name], value) for name, value in last.training["weights"].items())
