"""The training loop against a bare one: the same model and steps, with data in memory and without anything around them.

    python -m dlcv.benchmarks.programs.training --data tiles/ --model fcn8s --width 0.25

The bare loop is what one would write first: normalise, forward, loss, backward, clip, step, on uint8 batches that are there
already. Ours reads, decodes and augments the images, and counts, reports and could be interrupted. Either does an epoch in turn;
the ratio is of the times of a pair.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import torch

from dlcv.benchmarks.timing import MIN_PAIRS, PairedRatio, paired_ratio
from dlcv.runtime.cli.common import Command, note
from dlcv.train import run
from dlcv.train.data.loading import Batch
from dlcv.train.loop import Trainer
from dlcv.train.models import create_model
from dlcv.train.preprocess import normalise
from dlcv.train.settings.settings import TrainSettings
from dlcv.train.steps.losses import CrossEntropy
from dlcv.train.steps.optimizers import make_optimizer


@dataclass(frozen=True)
class Throughput:
    """What was measured.

    Attributes:
        ratio: bare seconds by ours; 1 is as fast, 0.9 takes a ninth longer.
        cpu_ratio: median and quartiles of the same of the training process's CPU time, which other programs hardly change;
            a worker's is not in it.
        data_wait: median share of an epoch's time that ours waited for images.
        steps: of an epoch.
    """

    ratio: PairedRatio
    cpu_ratio: tuple[float, float, float]
    data_wait: float
    steps: int


def throughput(settings: TrainSettings, pairs: int = MIN_PAIRS) -> Throughput:
    """Epochs of the bare loop and of ours in turn, on the same images and at the same sizes."""
    folder = Path(tempfile.mkdtemp(prefix="dlcv-training-"))
    try:
        trainer = run.start(settings, folder / "run", overwrite=False, say=note)
        bare = _bare_epoch(trainer)
        waits: list[float] = []
        cpu_s: dict[str, list[float]] = {"bare": [], "ours": []}

        def ours() -> None:
            trainer.step_in_epoch, trainer.loss_sum = 0, 0.0
            waits.append(trainer._train_epoch(lambda: False)[1])

        def timed(name: str, work: Callable[[], None]) -> None:
            before = time.process_time()
            work()
            cpu_s[name].append(time.process_time() - before)

        ratio = paired_ratio(lambda: timed("bare", bare), lambda: timed("ours", ours), pairs)
        ratios = [a / b for a, b in list(zip(cpu_s["bare"], cpu_s["ours"], strict=True))[1:]]  # the first is uncounted
        low, median, high = statistics.quantiles(ratios, n=4)
        return Throughput(ratio, (median, low, high), statistics.median(waits), trainer.batches.per_epoch)
    finally:
        shutil.rmtree(folder)


def _bare_epoch(trainer: Trainer) -> Callable[[], None]:
    """An epoch on the trainer's own batches, held in memory, with a model of its own."""
    settings, card = trainer.run.settings, trainer.run.card
    trainer.batches.epoch = 1
    # cloned, since the loader uses its buffers again
    batches: list[Batch] = [(x.clone(), y.clone()) for step in trainer._make_loader() for x, y in step]
    model = create_model(settings.model, classes=len(card.classes), width=settings.width, options=settings.options)
    model = model.to(trainer.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    loss, optimizer = CrossEntropy(), make_optimizer(model, settings)

    def epoch() -> None:
        total = 0.0
        for images, labels in batches:
            optimizer.zero_grad(set_to_none=True)
            inputs = normalise(images.to(trainer.device), card.mean_rgb, card.std_rgb)
            value = loss(model(inputs), labels.to(trainer.device))
            value.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
            optimizer.step()
            total += value.item()

    return epoch


@click.command("training", cls=Command)
@click.option("--model", default="fcn8s", show_default=True, help="A model without an auxiliary head.")
@click.option("--data", default="sample", show_default=True, help="As dlcv-train takes it.")
@click.option("--dataset", default="deepglobe", show_default=True, help="As dlcv-train takes it.")
@click.option("--width", type=float, default=0.25, show_default=True, help="Factor on the model's channels.")
@click.option("--batch", default=4, show_default=True, help="Images a step.")
@click.option("--crop", default=0, help="Side of the crops, in pixels.  [default: as dlcv-train]")
@click.option("--workers", default=1, show_default=True, help="Processes that decode.")
@click.option("--pairs", default=MIN_PAIRS, show_default=True, help="Epochs of either.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
def main(pairs: int, **options: str | float) -> None:
    """Compare the training loop with a bare one on data in memory."""
    settings = TrainSettings(**options)  # type: ignore[arg-type]
    result = throughput(settings, pairs)
    median, low, high = result.cpu_ratio
    click.echo(
        f"{settings.model} at width {settings.width:g}, batch {settings.batch}, {settings.workers} workers, "
        f"{result.steps} steps an epoch: bare / ours {result.ratio}; "
        f"{result.ratio.a_s:.2f} s and {result.ratio.b_s:.2f} s; "
        f"CPU time {median:.2f} ({low:.2f} to {high:.2f}); {result.data_wait:.1%} of it waiting for data"
    )


if __name__ == "__main__":
    main()
