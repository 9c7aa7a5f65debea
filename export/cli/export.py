"""`dlcv-export`: a checkpoint in; a verified graph, and a plan where a builder is there, out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dlcv.runtime.cli.common import Command, note, version_option


@click.command("dlcv-export", cls=Command)
@click.option("--model", default="fcn8s", show_default=True, help="Which model; an unknown name lists the known ones.")
@click.option(
    "--checkpoint",
    "checkpoints",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A best.pt or last.pt; several, or a folder of them, become one graph that averages their probabilities.  [default: runs/MODEL/best.pt]",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("."),
    show_default=True,
    help="Folder of the files, which are named after the model.",
)
@click.option(
    "--format",
    type=click.Choice(["auto", "onnx", "plan"]),
    default="auto",
    show_default=True,
    help="auto: a plan too where a TensorRT builder is importable.",
)
@click.option(
    "--head",
    type=click.Choice(["mask", "probs", "logits"]),
    default=None,
    help="What the graph returns.  [default: mask for segmentation, probs for classification]",
)
@click.option(
    "--max-batch", type=click.IntRange(1, 1024), default=16, show_default=True, help="Largest batch of a plan."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=None,
    help="Labelled images to verify on.  [default: the run's probe/]",
)
@click.option(
    "--size",
    type=click.IntRange(8),
    nargs=2,
    default=None,
    metavar="HEIGHT WIDTH",
    help="Input size.  [default: the checkpoint's]",
)
@click.option(
    "--builder",
    type=click.Choice(["auto", "tensorrt", "tensorrt-rtx"]),
    default="auto",
    show_default=True,
    help="auto: full TensorRT where it imports and a GPU is there, else TensorRT-RTX.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "bf16", "int8"]),
    default="fp32",
    show_default=True,
    help="Of convolutions and matrix products; what comes in and goes out stays as it is.",
)
@click.option(
    "--min-share",
    type=click.FloatRange(0, 1),
    default=None,
    help="Least share of the multiply-adds in that precision.  [default: 0.95, int8 0.90]",
)
@click.option(
    "--max-drop",
    type=click.FloatRange(0, 1),
    default=0.005,
    show_default=True,
    help="How far mean IoU or accuracy may fall below torch in float32.",
)
@click.option(
    "--calibration-data",
    type=click.Path(path_type=Path),
    default=None,
    help="Training images that set the ranges of int8.  [default: the images verified on]",
)
@click.option(
    "--calibration-tiles",
    type=click.IntRange(1, 10_000),
    default=64,
    show_default=True,
    help="How many of them at most.",
)
@click.option(
    "--calibration",
    type=click.Choice(["entropy", "percentile", "min-max"]),
    default="percentile",
    show_default=True,
    help="How a range follows from the values seen.",
)
@click.option(
    "--rest",
    type=click.Choice(["fp32", "fp16"]),
    default="fp32",
    show_default=True,
    help="Of what is not int8; fp16 is for TensorRT, and ONNX Runtime then computes in float32.",
)
@version_option
def main(
    model: str, checkpoints: tuple[Path, ...], data: Path | None, size: tuple[int, int] | None, precision: str,
    min_share: float | None, max_drop: float, calibration_data: Path | None, calibration_tiles: int, calibration: str,
    rest: str, **options: Any,
) -> None:  # fmt: skip
    """Export a checkpoint, or several as an ensemble, as MODEL.onnx, MODEL.plan, MODEL.reference.npz and MODEL.json.

    Before anything gets its final name, ONNX Runtime on the graph is compared with torch on real images; when they differ,
    the export fails with exit code 1 and leaves nothing behind.

    \b
    dlcv-export --model fcn8s
    dlcv-export --model fcn8s --checkpoint runs/fcn8s/best.pt --data tiles/ --head probs --output engines/
    dlcv-export --model resnet18 --checkpoint runs/resnet18/kept
    dlcv-export --model fcn8s --precision int8 --calibration-data tiles/
    """
    from dlcv.train.models.registry import model_entry

    model_entry(model)
    from dlcv.export.export_model import ExportSettings, export_model
    from dlcv.export.low_precision import PrecisionSettings
    from dlcv.runtime.evaluation import NOUNS
    from dlcv.runtime.files import checkpoint_files

    paths = tuple(checkpoint_files(checkpoints or [Path("runs") / model / "best.pt"]))
    asked = PrecisionSettings(precision, min_share, max_drop, calibration, calibration_data, calibration_tiles, rest)
    settings = ExportSettings(model=model, checkpoints=paths, data=data, size_hw=size, precision=asked, **options)
    report = export_model(settings, say=note)
    verified = report.verification
    note(
        f"verified on {verified.images} {NOUNS[verified.task]}s: argmax agreement {verified.agreement:.6f}, "
        f"largest logit difference {verified.logit_difference:.3g} at logits up to {verified.logit_scale:.3g}"
    )
    if report.low is not None:
        for name, stage in report.low.stages.items():
            note(
                f"{name}: {stage.candidate.headline_name} {stage.candidate.headline:.4f}, torch {stage.reference.headline:.4f}; argmax agreement {stage.agreement:.6f}"
            )
    note(report.plan.sentence if report.plan else f"no plan: {report.no_plan}")
    for file in report.files:
        click.echo(file)
