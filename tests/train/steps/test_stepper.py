"""Steps: accumulated ones equal larger batches, clipping, and what is not a number."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dlcv.runtime.errors import DlcvError
from dlcv.train import run
from dlcv.train.checkpoints.checkpoint import load_checkpoint
from dlcv.train.loop import Trainer
from dlcv.train.settings.settings import TrainSettings
from dlcv.train.steps.stepper import NotFinite


@pytest.fixture
def settings(scenes: Path) -> TrainSettings:
    return TrainSettings(
        data=str(scenes), width=0.05, epochs=1, batch=4, crop=64, learning_rate=1e-2, workers=0, device="cpu", seed=1,
        optimizer="sgd", schedule="constant", warmup="0",
    )  # fmt: skip


def begin(settings: TrainSettings, folder: Path, **changes: Any) -> Trainer:
    return run.start(replace(settings, **changes), folder, overwrite=False, say=lambda _: None)


@pytest.mark.parametrize("loss", ["cross-entropy", "weighted-cross-entropy", "focal", "dice"])
def test_accumulated_batches_are_a_larger_batch(settings: TrainSettings, tmp_path: Path, loss: str) -> None:
    """Each micro-batch counts by what its mean divides by, so that uneven weights do not tell."""
    one, four = (
        begin(settings, tmp_path / str(n), loss=loss, batch=4 // n, accumulate=n, clip_norm=0.0) for n in (1, 4)
    )
    before = {name: value.clone() for name, value in one.model.state_dict().items()}
    losses = [trainer._train_epoch(lambda: False)[0] for trainer in (one, four)]
    assert one.steps == four.steps == 2
    # float32 sums in another order, over two steps: 1e-4 of the way that the weights went
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    went = torch.cat([(value - before[name]).flatten() for name, value in one.model.state_dict().items()])
    apart = torch.cat([(value - four.model.state_dict()[n]).flatten() for n, value in one.model.state_dict().items()])
    assert went.norm() > 0 and apart.norm() < 1e-4 * went.norm()


def test_the_images_of_a_step_are_those_of_a_larger_batch(settings: TrainSettings, tmp_path: Path) -> None:
    one, two = begin(settings, tmp_path / "1"), begin(settings, tmp_path / "2", batch=2, accumulate=2)
    for trainer in (one, two):
        trainer.batches.epoch = 1
    assert [one.batches.of_step(k) for k in (0, 1)] == [two.batches.of_step(k) for k in (0, 1)]
    assert len({i for k in (0, 1) for i in one.batches.of_step(k)}) == 8


def test_more_to_accumulate_than_there_is_makes_one_step(settings: TrainSettings, tmp_path: Path) -> None:
    trainer = begin(settings, tmp_path / "run", batch=4, accumulate=99)
    trainer.train()
    assert trainer.batches.per_epoch == 1 and trainer.steps == 1


def test_the_gradient_is_clipped(settings: TrainSettings, tmp_path: Path) -> None:
    """SGD at the rate 1 without momentum moves by the gradient itself."""
    moved = {}
    for clip in (0.0, 0.01):
        changes: dict[str, Any] = {
            "clip_norm": clip,
            "learning_rate": 1.0,
            "momentum": 0.0,
            "weight_decay": 0.0,
            "batch": 8,
        }
        trainer = begin(settings, tmp_path / str(clip), **changes)
        before = [value.detach().clone() for value in trainer.model.parameters()]
        trainer._train_epoch(lambda: False)
        ways = [(new.detach() - old).flatten() for new, old in zip(trainer.model.parameters(), before, strict=True)]
        moved[clip] = float(torch.cat(ways).norm())
    assert moved[0.0] > 0.02
    assert moved[0.01] == pytest.approx(0.01, rel=1e-3)  # torch adds 1e-6 to the norm that it divides by; float32


def break_step(trainer: Trainer, monkeypatch: pytest.MonkeyPatch, step: int, what: str) -> None:
    """The step's first image brings a loss, or a gradient alone, that is no number."""
    original, done = trainer._stepper._model.forward, []

    def forward(images: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = original(images)
        if trainer.model.training:
            done.append(1)
        if len(done) != step:
            return outputs
        if what == "the loss":
            return outputs * float("nan")
        outputs.register_hook(lambda gradient: gradient * float("inf"))
        return outputs

    monkeypatch.setattr(trainer._stepper._model, "forward", forward)


@pytest.mark.parametrize("what", ["the loss", "the gradient"])
def test_what_is_no_number_stops_the_run_and_names_the_images(
    settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """In the second epoch: `last.pt` and `best.pt` of the first stay, and the run can go on from there."""
    trainer = begin(settings, tmp_path / "run", epochs=2)
    break_step(trainer, monkeypatch, 4, what)
    with pytest.raises(DlcvError, match=rf"^{what} is not a number at epoch 2, step 2; try a smaller") as told:
        trainer.train()
    assert told.value.exit_code == 2 and "\n" not in str(told.value)
    names = [trainer.run.training.examples[i].name for i in sorted(trainer.batches.of_step(1))]
    assert len(names) == 4 and str(told.value).endswith(f"look at the images of that step: {', '.join(names)}")
    last = load_checkpoint(tmp_path / "run" / "last.pt")
    assert last.training["epoch"] == 2 and all(value.isfinite().all() for value in last.weights.values())
    assert all(value.isfinite().all() for value in trainer.model.state_dict().values())  # no step was made of it
    assert run.resume(tmp_path / "run", {"model": "fcn8s"}, say=lambda _: None).train() is not None


def test_fp16_leaves_out_a_step_that_overflows(
    settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = begin(settings, tmp_path / "run", amp="fp16")
    assert trainer._precision.scaler is not None
    break_step(trainer, monkeypatch, 1, "the gradient")
    scale = trainer._precision.scaler.get_scale()
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.batches.epoch = 1
    (first, _) = list(trainer._make_loader())
    trainer._step(first)
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())
    assert trainer._precision.scaler.get_scale() == scale / 2


def test_labels_that_do_not_count_make_no_step(settings: TrainSettings, tmp_path: Path) -> None:
    trainer = begin(settings, tmp_path / "run", loss="focal")
    (unknown,) = trainer.run.card.uncounted
    images, labels = torch.zeros(2, 64, 64, 3, dtype=torch.uint8), torch.full((2, 64, 64), unknown)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    assert trainer._stepper.step([(images, labels)], 0.1) == 0.0
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())


def test_a_loss_that_is_infinite_is_no_number(settings: TrainSettings, tmp_path: Path) -> None:
    trainer = begin(settings, tmp_path / "run")
    with torch.no_grad():
        next(trainer.model.parameters()).fill_(float("inf"))
    images, labels = torch.ones(1, 64, 64, 3, dtype=torch.uint8), torch.zeros(1, 64, 64, dtype=torch.int64)
    with pytest.raises(NotFinite, match="the loss"):
        trainer._stepper.step([(images, labels)], 0.1)


def test_patience_stops_a_run_that_does_not_get_better(settings: TrainSettings, tmp_path: Path) -> None:
    said: list[str] = []
    quiet = replace(settings, learning_rate=1e-12, epochs=9, patience=2, loss="dice")
    trainer = run.start(quiet, tmp_path / "run", overwrite=False, say=said.append)
    assert trainer.train() is not None
    with open(tmp_path / "run" / "history.csv") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]  # the first is the best
    assert said[-1] == (
        "stopped after epoch 3: no better mean IoU for 2 epochs; go on with --resume and a greater --patience"
    )
    again = run.resume(tmp_path / "run", {"model": "fcn8s"}, say=said.append)
    assert again.train() is None and again.stopped_early
    assert run.resume(tmp_path / "run", {"model": "fcn8s", "patience": 3}, say=said.append).train() is not None
    assert said[-1].startswith("stopped after epoch 4: ")
