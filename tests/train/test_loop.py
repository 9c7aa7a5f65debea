"""The loop: Ctrl-C at any point, and a resumed run that ends exactly where an uninterrupted one does."""

from __future__ import annotations

import csv
import os
import shutil
import signal
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from dlcv.runtime.cli import termination
from dlcv.runtime.errors import Interrupted, UsageError
from dlcv.train import loop, run, validation
from dlcv.train.checkpoint import load_checkpoint
from dlcv.train.data import loading
from dlcv.train.kept import kept_files
from dlcv.train.loop import Trainer
from dlcv.train.settings import TrainSettings

EPOCHS, STEPS = 3, 4  # 9 tiles in batches of 2: the ninth is left out; 40 pictures in batches of 10


@pytest.fixture(scope="module")
def settings(scenes: Path) -> TrainSettings:
    return TrainSettings(
        data=str(scenes), width=0.05, epochs=EPOCHS, batch=2, crop=64, learning_rate=3e-3, workers=0, device="cpu", seed=1
    )  # fmt: skip


def begin(settings: TrainSettings, folder: Path, **changes: Any) -> Trainer:
    return run.start(TrainSettings(**settings.to_dict() | changes), folder, overwrite=False, say=lambda _: None)


def again(folder: Path, model: str = "fcn8s", **given: Any) -> Trainer:
    return run.resume(folder, {"model": model, **given}, say=lambda _: None)


@pytest.fixture(scope="module")
def whole(settings: TrainSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    begin(settings, folder).train()
    return folder


@pytest.fixture(scope="module", params=["cnn3", "resnet18"])
def classifier(request: pytest.FixtureRequest, pictures: Path) -> TrainSettings:
    """A classifier with and one without batch normalisation; two checkpoints are kept."""
    return TrainSettings(
        model=request.param, data=str(pictures), width=0.1, epochs=EPOCHS, batch=10, learning_rate=3e-3, workers=0, device="cpu",
        seed=1, keep_best=2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole_classifier(classifier: TrainSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    begin(classifier, folder).train()
    return folder


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


@pytest.mark.parametrize("steps", [1, STEPS, STEPS + 2, EPOCHS * STEPS - 1])
def test_a_classifier_interrupted_ends_like_an_uninterrupted_one(
    classifier: TrainSettings, whole_classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """Among the weights are the running statistics of batch normalisation; kept checkpoints are the same two."""
    undo = press_ctrl_c_after(monkeypatch, "_step", steps)
    with pytest.raises(Interrupted):
        begin(classifier, tmp_path / "run").train()
    undo()
    torch.manual_seed(99)  # another process has another random state
    again(tmp_path / "run", classifier.model).train()
    assert_same_run(tmp_path / "run", whole_classifier)
    assert len(kept_files(tmp_path / "run")) == 2
    weights = load_checkpoint(tmp_path / "run" / "last.pt").weights
    statistics = [int(tensor) for name, tensor in weights.items() if name.endswith("num_batches_tracked")]
    assert set(statistics) == ({EPOCHS * STEPS} if classifier.model == "resnet18" else set())


def test_a_classifier_killed_before_its_position_is_saved(
    classifier: TrainSettings, whole_classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kept checkpoint of an epoch that `last.pt` does not know of is made again, and what it replaced is still there."""
    original = Trainer.save_last

    def dies(self: Trainer) -> None:
        if self.epoch == EPOCHS + 1:
            raise RuntimeError("killed")
        original(self)

    monkeypatch.setattr(Trainer, "save_last", dies)
    with pytest.raises(RuntimeError, match="killed"):
        begin(classifier, tmp_path / "run").train()
    monkeypatch.undo()
    trainer = again(tmp_path / "run", classifier.model)
    assert all(path.exists() for path in trainer.kept.paths) and len(trainer.kept.paths) == 2
    trainer.train()
    assert_same_run(tmp_path / "run", whole_classifier)


def test_only_a_lower_validation_loss_is_kept(classifier: TrainSettings, tmp_path: Path) -> None:
    trainer = begin(classifier, tmp_path / "run")
    scores = trainer.run.validation.tally().scores()
    for loss, expected in ((0.9, [1]), (0.5, [1, 2]), (float("nan"), [1, 2]), (0.7, [2, 4]), (0.8, [2, 4])):
        trainer._finish_epoch(scores, loss)
        assert [int(path.stem[6:]) for path in kept_files(tmp_path / "run")] == expected
    assert load_checkpoint(tmp_path / "run" / "kept" / "epoch-0004.pt").scores["validation_loss"] == 0.7


def test_fewer_or_more_may_be_kept_on_resume(classifier: TrainSettings, whole_classifier: Path, tmp_path: Path) -> None:
    for count, expected in ((1, 1), (3, 3)):
        shutil.copytree(whole_classifier, tmp_path / str(count))
        again(tmp_path / str(count), classifier.model, keep_best=count, epochs=EPOCHS + 1).train()
        assert len(kept_files(tmp_path / str(count))) == expected


def test_kept_checkpoints_without_a_run_are_not_lost(
    classifier: TrainSettings, whole_classifier: Path, tmp_path: Path
) -> None:
    shutil.copytree(whole_classifier / "kept", tmp_path / "kept")
    with pytest.raises(UsageError, match="holds a run already"):
        begin(classifier, tmp_path)
    assert len(kept_files(tmp_path)) == 2
    run.start(classifier, tmp_path, overwrite=True, say=lambda _: None)
    assert kept_files(tmp_path) == []


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


def test_more_epochs_go_on_from_the_last(settings: TrainSettings, whole: Path, tmp_path: Path) -> None:
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


def test_the_learning_rate_warms_up_and_falls_to_zero(settings: TrainSettings, tmp_path: Path) -> None:
    trainer = begin(settings, tmp_path / "run", epochs=10, learning_rate=1.0)
    rates = []
    for step in range(41):
        trainer.epoch, trainer.step_in_epoch = step // STEPS + 1, step % STEPS
        rates.append(trainer.learning_rate())
    # 40 steps: 5 of warm-up, and the poly schedule (1 - step / 40)^0.9
    expected = [min(1, (step + 1) / 5) * (1 - step / 40) ** 0.9 for step in range(41)]
    assert rates == pytest.approx(expected) and rates[40] == 0.0
    assert max(rates) == rates[4] and all(a > b for a, b in pairwise(rates[4:]))


def test_the_optimizer_steps_at_that_rate(
    settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[float, float]] = []
    original = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, *args: Any) -> Any:
        seen.append((self.param_groups[0]["lr"], trainer.learning_rate()))
        return original(self, *args)

    trainer = begin(settings, tmp_path / "run", learning_rate=0.0)
    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    trainer.train()
    assert len(seen) == EPOCHS * STEPS and all(a == b for a, b in seen)
    assert seen[1][0] == pytest.approx(
        2.5e-4 / 0.05 * (11 / 12) ** 0.9
    )  # no rate given: 0.00025 / width, 2 steps of warm-up


def test_training_learns_its_scenes(settings: TrainSettings, tmp_path: Path) -> None:
    trainer = begin(settings, tmp_path / "run", width=0.1, epochs=12, learning_rate=2e-3)
    trainer.train()
    losses = [float(row["train_loss"]) for row in history(tmp_path / "run")]
    assert min(losses[-3:]) < 0.85 * losses[0]  # 48 steps on 9 scenes; a step that does nothing stays at 1.0
