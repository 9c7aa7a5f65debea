"""The training loop: set up, train, validate, save; it can be interrupted at any step and goes on where it was."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from dlcv.runtime.cli.termination import saving
from dlcv.runtime.errors import DlcvError, Interrupted
from dlcv.runtime.metrics import Scores, Tally
from dlcv.runtime.progress import Progress
from dlcv.train.checkpoints.checkpoint import Checkpoint, save_checkpoint
from dlcv.train.checkpoints.session import TorchSession
from dlcv.train.checkpoints.weights import initialise
from dlcv.train.data.augment import Augmentation
from dlcv.train.data.balance import image_weights
from dlcv.train.data.examples import EpochBatches, TrainingImages
from dlcv.train.data.loading import Batch, Steps
from dlcv.train.epoch_line import EpochFigures, EpochLines
from dlcv.train.folder.history import History
from dlcv.train.folder.kept import KeptCheckpoints
from dlcv.train.interruption import stop_signal
from dlcv.train.models import create_model
from dlcv.train.processes.distributed import ALONE, Processes
from dlcv.train.random_state import random_states, restore_random_state, seed_process
from dlcv.train.steps.ema import AveragedModel
from dlcv.train.steps.losses import make_loss
from dlcv.train.steps.optimizers import highest_rate, make_optimizer
from dlcv.train.steps.precision import MixedPrecision
from dlcv.train.steps.schedules import share_of_rate, warm_up_steps
from dlcv.train.steps.stepper import NotFinite, Stepper
from dlcv.train.training_run import Run
from dlcv.train.validation import validate_together
from dlcv.train.watching import Watchers


class Trainer:
    """One run: model, optimizer, position. `train` does the work.

    Args:
        run: what is trained and on what.
        say: takes lines for people.
        processes: that train it together; each has a trainer, and calls the same methods.
    """

    def __init__(self, run: Run, say: Callable[[str], None], processes: Processes = ALONE) -> None:
        self.run, self._say, self.processes = run, say, processes
        settings = run.settings
        self.device = processes.device(settings.device)
        self._precision = MixedPrecision(settings.amp, self.device)
        torch.manual_seed(settings.seed)
        model = create_model(
            settings.model, classes=len(run.card.classes), width=settings.width, options=settings.options
        )
        if settings.init:
            with processes.main_first():
                say(initialise(model, settings.model, settings.init, whole=settings.epochs == 0))
        seed_process(processes, settings.seed)
        self._highest_rate = highest_rate(model, settings, settings.width)
        if settings.sync_batchnorm and processes.place.size > 1:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        self.model = model.to(self.device, memory_format=layout)  # type: ignore[call-overload]
        self.averaged = AveragedModel(self.model, settings.ema) if settings.ema else None
        self.optimizer = make_optimizer(self.model, settings)
        counts = processes.of_main(run.training.counts) if settings.loss == "weighted-cross-entropy" else None
        self.loss = make_loss(
            settings.loss, counts, self.device, gamma=settings.focal_gamma, uncounted=run.card.uncounted
        )
        self._stepper = Stepper(
            self.model, self.loss, self.optimizer, self._precision,
            clip_norm=settings.clip_norm, card=run.card, device=self.device, processes=processes,
        )  # fmt: skip
        balanced = settings.balanced_sampling
        self.batches = EpochBatches(
            len(run.training), settings.batch, settings.seed, accumulate=settings.accumulate, place=processes.place,
            weights=processes.of_main(lambda: image_weights(run.training)) if balanced else None,
        )  # fmt: skip
        self._loader: Steps | None = None
        self.epoch, self.step_in_epoch, self.loss_sum = 1, 0, 0.0
        self.best, self.epochs_without_better = -1.0, 0
        self.kept = KeptCheckpoints(run.folder, settings.keep_best)
        self.last_scores: dict[str, Any] = {}
        self.headline_name = "score"
        self._watchers = Watchers(run)

    @property
    def result(self) -> nn.Module:
        """The model that is validated and kept: the averaged one, where there is one."""
        return self.model if self.averaged is None else self.averaged.model

    @property
    def steps(self) -> int:
        """Optimizer steps done since the beginning of the run."""
        return (self.epoch - 1) * self.batches.per_epoch + self.step_in_epoch

    @property
    def stopped_early(self) -> bool:
        """Whether `patience` epochs have passed without a better score."""
        return 0 < self.run.settings.patience <= self.epochs_without_better

    def _as_session(self) -> TorchSession:
        return TorchSession(self.result, self.run.card, self.device)

    def learning_rate(self) -> float:
        """Of the next step; see `schedules.share_of_rate`."""
        settings, per_epoch = self.run.settings, self.batches.per_epoch
        total = max(1, settings.epochs * per_epoch)
        warm_up = warm_up_steps(settings.warmup, total=total, per_epoch=per_epoch)
        return self._highest_rate * share_of_rate(settings.schedule, self.steps, total, warm_up)

    def train(self) -> Scores | None:
        """Trains up to the last epoch; returns the last epoch's scores, None when there was nothing left to do.

        Raises:
            Interrupted: after Ctrl-C or SIGTERM, to any of its processes, with `last.pt` saved.
            DlcvError: when the loss is not a number.
        """
        history = History(self.run.folder / "history.csv", self.run.card.classes, epoch=self.epoch - 1)
        if self.run.settings.epochs == 0 and self.best < 0:
            return self._judge_the_beginning()
        lines = EpochLines(self.run.card.classes, self.run.settings.epochs)
        scores = None
        with stop_signal() as stop:
            while self.epoch <= self.run.settings.epochs and not self.stopped_early:
                started = time.monotonic()
                train_loss, data_wait = self._train_epoch(stop)
                validation_loss, tally = self._validate(stop)
                scores = tally.scores()
                figures = EpochFigures(
                    epoch=self.epoch, step=self.steps, learning_rate=self.learning_rate(), train_loss=train_loss,
                    validation_loss=validation_loss, seconds=time.monotonic() - started, data_wait=data_wait,
                )  # fmt: skip
                if self.processes.main:  # the others wait in `save_last`
                    history.add(scores, **asdict(figures))
                    self._watchers.epoch_done(self._as_session, figures, scores)
                    self._say(lines.line(figures, tally))
                self._finish_epoch(scores, validation_loss)
                if self.processes.any(stop()):
                    raise self._interrupted()
        if self.processes.main:
            self._watchers.ended(self._as_session, self.epoch - 1)
        if self.stopped_early:
            self._say(
                f"stopped after epoch {self.epoch - 1}: no better {self.headline_name} for {self.epochs_without_better} epochs; "
                "go on with --resume and a greater --patience"
            )
        return scores

    def _judge_the_beginning(self) -> Scores:
        """The starting weights as a result: validated, and kept as `best.pt` of epoch 0, which has no row in the history."""
        with stop_signal() as stop:
            loss, tally = self._validate(stop)
        scores = tally.scores()
        self._say(EpochLines(self.run.card.classes, 0).beginning(loss, tally))
        self.epoch = 0
        self._finish_epoch(scores, loss)
        return scores

    def restore(self, checkpoint: Checkpoint) -> None:
        """Goes back to where `last.pt` was saved."""
        state = checkpoint.training
        self.model.load_state_dict(state["weights"] if self.averaged is not None else checkpoint.weights)
        if self.averaged is not None:
            self.averaged.restore(checkpoint.weights)
        self.optimizer.load_state_dict(state["optimizer"])
        self._precision.restore(state.get("scaler", {}))
        self.epoch, self.step_in_epoch, self.loss_sum = state["epoch"], state["step_in_epoch"], state["loss_sum"]
        self.best = state["best"]
        # runs begun before there was patience hold neither this nor a scaler
        self.epochs_without_better = state.get("epochs_without_better", 0)
        self.kept = KeptCheckpoints(self.run.folder, self.run.settings.keep_best, state["kept"])
        self.last_scores = dict(checkpoint.scores)
        restore_random_state(self.processes, self.device, state, self.run.settings.seed, self.steps)

    def _train_epoch(self, stop: Callable[[], bool]) -> tuple[float, float]:
        """The mean loss, and the share of the time that was spent waiting for data."""
        self.model.train()
        self.batches.epoch, self.batches.start = self.epoch, self.step_in_epoch
        self._loader = self._loader or self._make_loader()
        label, started = f"epoch {self.epoch}/{self.run.settings.epochs}", time.perf_counter()
        left = max(0, self.batches.per_epoch - self.step_in_epoch)
        with Progress(left, label, quiet=not self.processes.main) as progress:
            for step in self._loader:
                self.loss_sum += self._step(step)
                self.step_in_epoch += 1
                progress.advance(1, f"loss {self.loss_sum / self.step_in_epoch:.3f}")
                if self.processes.any(stop()):
                    raise self._interrupted()
        wait = self._loader.waited_s / max(time.perf_counter() - started, 1e-9)
        return self.loss_sum / max(1, self.step_in_epoch), wait

    def _step(self, batches: Sequence[Batch]) -> float:
        try:
            value = self._stepper.step(batches, self.learning_rate())
        except NotFinite as error:
            indices = sorted(set(self.batches.of_step(self.step_in_epoch, error.ranks)))
            names = ", ".join(str(self.run.training.examples[i].name) for i in indices)
            raise DlcvError(
                f"{error} is not a number at epoch {self.epoch}, step {self.step_in_epoch + 1}; try a smaller --learning-rate, "
                f"or look at the images of that step: {names}"
            ) from error
        if self.averaged is not None:
            self.averaged.update(self.model, self.steps + 1)
        return value

    def _make_loader(self) -> Steps:
        settings, card = self.run.settings, self.run.card
        augmentation = Augmentation(settings.crop, settings.flips, settings.least_area, card.interpolation)
        images = TrainingImages(self.run.training, augmentation, settings.seed)
        workers = self.processes.workers(settings.workers)
        return Steps(images, self.batches, workers=workers, pin=self.device.type == "cuda")

    def _validate(self, stop: Callable[[], bool]) -> tuple[float, Tally]:
        self.processes.take_buffers_of_main(self.result)
        session = TorchSession(self.result, self.run.card, self.device)
        try:
            result = validate_together(
                self.processes, session, self.run.validation, self.loss.cpu(), batch=self.batches.most, stop=stop
            )
        finally:
            self.loss.to(self.device)
        if result is None:  # resumed, the epoch has no step left and is validated from the start
            raise self._interrupted()
        return result

    @saving()
    def _finish_epoch(self, scores: Scores, validation_loss: float) -> None:
        self.last_scores = scores.figures() | {
            "epoch": self.epoch,
            "validation_loss": validation_loss,
            scores.per_class_name.lower(): list(scores.per_class),
        }
        headline = 0.0 if math.isnan(scores.headline) else scores.headline  # no counted class occurs: still a result
        self.headline_name, self.epochs_without_better = scores.headline_name, self.epochs_without_better + 1
        if headline > self.best:
            self.best, self.epochs_without_better = headline, 0
            self._save("best.pt")
        if self.processes.main:
            self.kept.offer(validation_loss, self.epoch, lambda path: save_checkpoint(path, self._checkpoint({})))
        self.epoch, self.step_in_epoch, self.loss_sum = self.epoch + 1, 0, 0.0
        self.save_last()
        if self.processes.main:
            self.kept.clear_up()

    @saving()
    def save_last(self) -> None:
        """Writes `last.pt` with everything that a resumed run needs; to be called by all processes."""
        states = random_states(self.processes, self.device)
        self._save(
            "last.pt",
            {
                "settings": self.run.settings.to_dict(),
                "optimizer": self.optimizer.state_dict(),
                "epoch": self.epoch,
                "step_in_epoch": self.step_in_epoch,
                "loss_sum": self.loss_sum,
                "best": self.best,
                "epochs_without_better": self.epochs_without_better,
                "scaler": self._precision.state(),
                "weights": {} if self.averaged is None else _on_cpu(self.model),
                "kept": self.kept.losses,
                **states,
            },
        )
        self.processes.wait()  # none goes on, or ends, before it is written

    def _save(self, name: str, training: Mapping[str, Any] | None = None) -> None:
        if self.processes.main:
            save_checkpoint(self.run.folder / name, self._checkpoint(training or {}))

    def _checkpoint(self, training: Mapping[str, Any]) -> Checkpoint:
        return Checkpoint(
            self.run.card,
            _on_cpu(self.result),
            self.run.training.description(),
            self.run.probe_sha256,
            self.last_scores,
            training,
        )

    def _interrupted(self) -> Interrupted:
        self.save_last()
        where = f"epoch {self.epoch}, step {self.step_in_epoch} of {self.batches.per_epoch}"
        return Interrupted(
            f"interrupted; {self.run.folder / 'last.pt'} is saved at {where}; go on with the same command and --resume"
        )


def _on_cpu(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
