"""The training loop: set up, train, validate, save; it can be interrupted at any step and goes on where it was."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from dlcv.runtime.card import ModelCard
from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.errors import CheckpointError, DatasetError, DlcvError, Interrupted
from dlcv.runtime.evaluation import one_class_note
from dlcv.runtime.metrics import Scores, Tally, per_class_lines
from dlcv.runtime.progress import Progress
from dlcv.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from dlcv.train.data.augment import Augmentation
from dlcv.train.data.examples import EpochBatches, TrainingImages
from dlcv.train.history import History
from dlcv.train.interruption import first_ctrl_c
from dlcv.train.kept import KeptCheckpoints
from dlcv.train.losses import make_loss, total_loss
from dlcv.train.models import create_model
from dlcv.train.preprocess import normalise
from dlcv.train.session import TorchSession, torch_device
from dlcv.train.settings import TrainSettings, default_learning_rate
from dlcv.train.validation import validate
from dlcv.train.weights import initialise

Batch = tuple[torch.Tensor, torch.Tensor]

WARM_UP_STEPS = 100
GRADIENT_NORM = 1.0


@dataclass(frozen=True)
class Run:
    """A run's folder and everything that stays the same while it trains."""

    folder: Path
    settings: TrainSettings
    training: LabelledSet[Any]
    validation: LabelledSet[Any]
    card: ModelCard
    probe_sha256: str


class Trainer:
    """One run: model, optimizer, position. `train` does the work.

    Args:
        run: what is trained and on what.
        say: takes lines for people.
    """

    def __init__(self, run: Run, say: Callable[[str], None]) -> None:
        self.run, self._say = run, say
        settings = run.settings
        self.device = torch_device(settings.device)
        torch.manual_seed(settings.seed)
        model = create_model(
            settings.model, classes=len(run.card.classes), width=settings.width, options=settings.options
        )
        if settings.init:
            say(initialise(model, settings.model, settings.init))
        self._highest_rate = settings.learning_rate or default_learning_rate(
            settings.width, batch_normalised=any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())
        )
        self.model = model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        counts = run.training.counts() if settings.loss == "weighted-cross-entropy" else None
        self.loss = make_loss(settings.loss, counts, self.device)
        self.batches = EpochBatches(len(run.training), settings.batch, settings.seed)
        self.epoch, self.step_in_epoch, self.loss_sum = 1, 0, 0.0
        self.best = -1.0
        self.kept = KeptCheckpoints(run.folder, settings.keep_best)
        self.last_scores: dict[str, Any] = {}

    @property
    def steps(self) -> int:
        """Optimizer steps done since the beginning of the run."""
        return (self.epoch - 1) * self.batches.per_epoch + self.step_in_epoch

    def learning_rate(self) -> float:
        """Linear warm-up, then the "poly" schedule with power 0.9 of Chen et al. 2017 (DeepLab)."""
        total = max(1, self.run.settings.epochs * self.batches.per_epoch)
        warm_up = min(WARM_UP_STEPS, total // 10 + 1)
        share: float = min(1.0, (self.steps + 1) / warm_up) * max(0.0, 1 - self.steps / total) ** 0.9
        return self._highest_rate * share

    def train(self) -> Scores | None:
        """Trains up to the last epoch; returns the last epoch's scores, None when there was nothing left to do.

        Raises:
            Interrupted: after Ctrl-C, with `last.pt` saved.
            DlcvError: when the loss is not a number.
        """
        history = History(self.run.folder / "history.csv", self.run.card.classes, epoch=self.epoch - 1)
        scores = None
        with first_ctrl_c() as stop:
            while self.epoch <= self.run.settings.epochs:
                started = time.monotonic()
                train_loss = self._train_epoch(stop)
                validation_loss, tally = self._validate(stop)
                scores = tally.scores()
                history.add(
                    scores, epoch=self.epoch, step=self.steps, learning_rate=self.learning_rate(), train_loss=train_loss,
                    validation_loss=validation_loss, seconds=time.monotonic() - started,
                )  # fmt: skip
                self._say(
                    _epoch_line(
                        self.epoch,
                        self.run,
                        tally,
                        train_loss=train_loss,
                        validation_loss=validation_loss,
                        seconds=time.monotonic() - started,
                    )
                )
                self._finish_epoch(scores, validation_loss)
                if stop():
                    raise self._interrupted()
        return scores

    def restore(self, checkpoint: Checkpoint) -> None:
        """Goes back to where `last.pt` was saved."""
        state = checkpoint.training
        self.model.load_state_dict(checkpoint.weights)
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.step_in_epoch, self.loss_sum = state["epoch"], state["step_in_epoch"], state["loss_sum"]
        self.best = state["best"]
        self.kept = KeptCheckpoints(self.run.folder, self.run.settings.keep_best, state["kept"])
        self.last_scores = dict(checkpoint.scores)
        torch.set_rng_state(state["rng"])
        if self.device.type == "cuda" and state["cuda_rng"]:
            torch.cuda.set_rng_state_all(state["cuda_rng"])

    def _train_epoch(self, stop: Callable[[], bool]) -> float:
        self.model.train()
        self.batches.epoch, self.batches.start = self.epoch, self.step_in_epoch
        label = f"epoch {self.epoch}/{self.run.settings.epochs}"
        with Progress(len(self.batches), label) as progress:
            for images, labels in _told_plainly(self._loader()):
                self.loss_sum += self._step(images, labels)
                self.step_in_epoch += 1
                progress.advance(1, f"loss {self.loss_sum / self.step_in_epoch:.3f}")
                if stop():
                    raise self._interrupted()
        return self.loss_sum / max(1, self.step_in_epoch)

    def _step(self, images: torch.Tensor, labels: torch.Tensor) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        self.optimizer.zero_grad(set_to_none=True)
        images, labels = images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)
        outputs = self.model(normalise(images, self.run.card.mean_rgb, self.run.card.std_rgb))
        loss = total_loss(self.loss, outputs, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), GRADIENT_NORM)
        value: float = loss.item()
        if not math.isfinite(value):
            raise DlcvError(
                f"the loss is not a number at epoch {self.epoch}, step {self.step_in_epoch + 1}; try a smaller --learning-rate"
            )
        self.optimizer.step()
        return value

    def _loader(self) -> DataLoader[Batch]:
        settings, card = self.run.settings, self.run.card
        augmentation = Augmentation(settings.crop, settings.flips, settings.least_area, card.interpolation)
        images = TrainingImages(self.run.training, augmentation, settings.seed)
        return DataLoader(
            images, batch_sampler=self.batches, num_workers=settings.workers, worker_init_fn=_quiet_worker,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # its own, so that a loader made anew on resume leaves torch's state as it was
        )  # fmt: skip

    def _validate(self, stop: Callable[[], bool]) -> tuple[float, Tally]:
        def advance(images: int) -> None:
            progress.advance(images)
            if stop():  # resumed, the epoch has no step left and is validated from the start
                raise self._interrupted()

        session = TorchSession(self.model, self.run.card, self.device)
        with Progress(len(self.run.validation), "validation") as progress:
            loss, tally = validate(
                session, self.run.validation, self.loss.cpu(), batch=self.run.settings.batch, advance=advance
            )
        self.loss.to(self.device)
        return loss, tally

    def _finish_epoch(self, scores: Scores, validation_loss: float) -> None:
        self.last_scores = scores.figures() | {
            "epoch": self.epoch,
            "validation_loss": validation_loss,
            scores.per_class_name.lower(): list(scores.per_class),
        }
        headline = 0.0 if math.isnan(scores.headline) else scores.headline  # no counted class occurs: still a result
        if headline > self.best:
            self.best = headline
            save_checkpoint(self.run.folder / "best.pt", self._checkpoint({}))
        self.kept.offer(validation_loss, self.epoch, lambda path: save_checkpoint(path, self._checkpoint({})))
        self.epoch, self.step_in_epoch, self.loss_sum = self.epoch + 1, 0, 0.0
        self.save_last()
        self.kept.clear_up()

    def save_last(self) -> None:
        """Writes `last.pt` with everything that a resumed run needs."""
        save_checkpoint(
            self.run.folder / "last.pt",
            self._checkpoint(
                {
                    "settings": self.run.settings.to_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "epoch": self.epoch,
                    "step_in_epoch": self.step_in_epoch,
                    "loss_sum": self.loss_sum,
                    "best": self.best,
                    "kept": self.kept.losses,
                    "rng": torch.get_rng_state(),
                    "cuda_rng": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
                }
            ),
        )

    def _checkpoint(self, training: Mapping[str, Any]) -> Checkpoint:
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.model.state_dict().items()}
        return Checkpoint(
            self.run.card, weights, self.run.training.description(), self.run.probe_sha256, self.last_scores, training
        )

    def _interrupted(self) -> Interrupted:
        self.save_last()
        where = f"epoch {self.epoch}, step {self.step_in_epoch} of {self.batches.per_epoch}"
        return Interrupted(
            f"interrupted; {self.run.folder / 'last.pt'} is saved at {where}; go on with the same command and --resume"
        )


def resumable(folder: Path, model: str) -> Checkpoint:
    """The `last.pt` of a run.

    Raises:
        CheckpointError: when there is none, or it is of another model.
    """
    path = folder / "last.pt"
    if not path.exists():
        raise CheckpointError(f"there is no run to go on with: {path} is missing; start one without --resume")
    return load_checkpoint(path, model=model)


def _told_plainly(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The same batches; a worker's error, whose text torch fills with a traceback, is told in its own sentence again."""
    try:
        yield from batches
    except DatasetError as error:
        last = str(error).strip().splitlines()[-1]
        raise DatasetError(last.removeprefix(f"{DatasetError.__module__}.{DatasetError.__qualname__}: ")) from error


def _quiet_worker(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the training process decides
    torch.set_num_threads(1)


def _epoch_line(
    epoch: int, run: Run, tally: Tally, *, train_loss: float, validation_loss: float, seconds: float
) -> str:
    scores = tally.scores()
    lines = per_class_lines(scores, run.card.classes)
    each = " ".join(f"{name} {value:.3f}" for name, value in lines if not math.isnan(value))
    others = [f"{name.replace('_', ' ')} {value:.4f}" for name, value in list(scores.figures().items())[1:-1]]
    text = (
        f"epoch {epoch}/{run.settings.epochs}: loss {train_loss:.4f}, validation loss {validation_loss:.4f}, "
        f"{scores.headline_name} {scores.headline:.4f} (majority predictor {scores.majority:.4f}), "
        f"{', '.join(others)}, {seconds:.0f} s | {each}"
    )
    if note := one_class_note(tally, run.card.classes):
        text += f" | {note}; train longer, or weigh the classes with --loss weighted-cross-entropy"
    return text
