"""Every model at its real size: parameters, multiply-adds, torch against ONNX Runtime, the plan. `python -m dlcv.benchmarks.programs.models`.

Weights are fresh ones: what is measured does not depend on training, and agreement of trained models is `dlcv-parity`'s matter.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dlcv.benchmarks.untrained import scene_images, untrained_card
from dlcv.runtime.cli.common import Command, note

if TYPE_CHECKING:
    from dlcv.benchmarks.timing import PairedRatio
    from dlcv.runtime.card.card import ModelCard

COUNTED_SIDE = {"segmentation": 512, "classification": 224}
"""Side of the square image whose multiply-adds are counted, in pixels."""
RUN_SIDE = {"segmentation": 256, "classification": 224}
"""Of the images that are run here: a quarter of the pixels shows the same and takes a quarter of the time."""
OWN_SIDE = {"densenet201-mlp": 48, "cnn3": 48}
IMAGES = 4


@dataclass(frozen=True)
class ModelFigures:
    """What was measured on one model; sides in pixels.

    Attributes:
        difference: the largest difference of the logits of torch and ONNX Runtime, as a share of the largest logit.
        agreement: share of pixels or images with the same class.
        plan_mb, plan_s: the plan's size and the seconds its build took; None where no builder is installed.
        ratio: seconds of one image in torch over those in ONNX Runtime, both on all cores.
    """

    name: str
    counted_side: int
    parameters: int
    multiply_adds: int
    run_side: int
    difference: float
    agreement: float
    plan_mb: float | None
    plan_s: float | None
    ratio: PairedRatio


def measure(name: str, *, pairs: int, width: float = 1.0) -> ModelFigures:
    """Exports a model with fresh weights, compares it with torch, builds its plan and times one image on either side."""
    import numpy as np
    import torch

    from dlcv.benchmarks.operations import count_operations
    from dlcv.benchmarks.timing import paired_ratio
    from dlcv.export.onnx_from_checkpoint import onnx_from_model
    from dlcv.runtime.sessions import open_session
    from dlcv.train.checkpoints.session import TorchSession
    from dlcv.train.models import create_model
    from dlcv.train.models.registry import model_entry

    task = model_entry(name).task
    counted = OWN_SIDE.get(name, COUNTED_SIDE[task])
    side = OWN_SIDE.get(name, RUN_SIDE[task])
    operations = count_operations(name, (counted, counted), width=width)
    torch.manual_seed(0)
    model = create_model(name, width=width).eval()
    card = untrained_card(name, task, side, width=width)
    images = scene_images(IMAGES, side)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        path = Path(folder) / "model.onnx"
        path.write_bytes(onnx_from_model(model, card).SerializeToString())
        plan_mb, plan_s = _plan(path, card)
        ours = TorchSession(model, card, torch.device("cpu"))
        with open_session(path, device="cpu", session="onnxruntime") as engine:
            expected, got = ours.run(images)["logits"], engine.run(images)["logits"]
            ratio = paired_ratio(lambda: ours.run(images[:1]), lambda: engine.run(images[:1]), pairs)
    return ModelFigures(
        name, counted, operations.parameters, operations.multiply_adds, side,
        float(np.abs(expected - got).max() / np.abs(expected).max()),
        float((expected.argmax(1) == got.argmax(1)).mean()), plan_mb, plan_s, ratio,
    )  # fmt: skip


def _plan(path: Path, card: ModelCard) -> tuple[float | None, float | None]:
    """Size in MB and seconds of a plan; None twice where no builder is installed."""
    from dlcv.export.builders.build import build_plan
    from dlcv.runtime.errors import MissingPackageError

    started = time.perf_counter()
    target = path.with_suffix(".plan")
    try:
        build_plan(path, target, card=card)
    except MissingPackageError:
        return None, None
    return target.stat().st_size / 1e6, time.perf_counter() - started


def table(figures: list[ModelFigures]) -> str:
    """A row a model, as Markdown."""
    from dlcv.runtime.tables import markdown_table

    header = [
        "model", "parameters", "multiply-adds", "at", "run at", "logits differ by", "same class", "plan", "built in",
        "torch / ONNX Runtime",
    ]  # fmt: skip
    rows = [
        [
            f.name, f"{f.parameters:,}", f"{f.multiply_adds / 1e9:.2f} G", f"{f.counted_side}", f"{f.run_side}",
            f"{f.difference:.1e}", f"{f.agreement:.6f}",
            "-" if f.plan_mb is None else f"{f.plan_mb:.1f} MB", "-" if f.plan_s is None else f"{f.plan_s:.1f} s",
            str(f.ratio),
        ]
        for f in figures
    ]  # fmt: skip
    return markdown_table(header, rows)


@click.command("models", cls=Command)
@click.argument("names", nargs=-1)
@click.option("--pairs", type=click.IntRange(2), default=15, show_default=True, help="Of one image in either.")
@click.option("--width", type=float, default=1.0, show_default=True)
def main(names: tuple[str, ...], pairs: int, width: float) -> None:
    """Parameters, multiply-adds, agreement, plan and speed of NAMES (default: all models), with fresh weights and 7 classes."""
    from dlcv.runtime.machine import cpu_name
    from dlcv.train.models import list_models

    figures = []
    for name in names or list_models():
        note(name)
        figures.append(measure(name, pairs=pairs, width=width))
    click.echo(table(figures))
    note(f"on {cpu_name()}")


if __name__ == "__main__":
    main()
