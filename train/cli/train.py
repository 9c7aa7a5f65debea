"""`dlcv-train`: labelled tiles in, a run with checkpoints out."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Any

import click

from dlcv.runtime.cli.common import Command, Finite, note, version_option
from dlcv.runtime.errors import UsageError


@click.command("dlcv-train", cls=Command)
@click.option("--model", default="fcn8s", show_default=True, help="Which model; an unknown name lists the known ones.")
@click.option(
    "--data",
    default="sample",
    show_default=True,
    help="Segmentation: a folder of NAME_sat.jpg + NAME_mask.png. Classification: a folder per class, a CSV, or files CLASS_INDEX.png. Either: `sample`, images that dlcv generates.",
)
@click.option(
    "--dataset",
    default="deepglobe",
    show_default=True,
    help="Segmentation: how masks name classes: deepglobe, dubai512 or FILE.json.",
)
@click.option(
    "--classes",
    default="",
    metavar="NAME,...",
    help="Classification: learn these classes only, in this order.  [default: all]",
)
@click.option(
    "--output", type=click.Path(path_type=Path), default=None, help="Folder of the run.  [default: runs/MODEL]"
)
@click.option(
    "--width",
    type=float,
    default=1.0,
    show_default=True,
    help="Factor on the model's channels; 0.25 trains on a laptop.",
)
@click.option(
    "--model-option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="Of the model itself, such as stride_in_1x1=true (ResNets) or auxiliary=true (deeplabv3-resnet101).",
)
@click.option("--epochs", type=click.IntRange(1), default=40, show_default=True)
@click.option("--batch", type=click.IntRange(0), default=0, help="Images a step.  [default: 8; classification 64]")
@click.option(
    "--crop",
    type=click.IntRange(0),
    default=0,
    help="Side of the random crops, in pixels.  [default: 256; classification: the images' shorter side, at most 224]",
)
@click.option(
    "--short-side",
    type=click.IntRange(0),
    default=0,
    help="Classification: evaluation scales the shorter side to this and takes the middle.  [default: at most 8/7 of the crop]",
)
@click.option(
    "--flips",
    type=click.Choice(["both", "horizontal", "vertical", "none"]),
    default="both",
    show_default=True,
    help="Random flips in training.",
)
@click.option(
    "--least-area",
    type=Finite(0, 1, min_open=True),
    default=0.35,
    show_default=True,
    help="Classification: least share of an image that a random resized crop takes; 1 takes all.",
)
@click.option(
    "--learning-rate",
    type=Finite(0),
    default=0.0,
    help="Of AdamW.  [default: 0.00025 / width; with batch normalisation 0.001 / width, at most 0.004]",
)
@click.option("--weight-decay", type=Finite(0), default=1e-4, show_default=True)
@click.option(
    "--loss",
    default="cross-entropy",
    show_default=True,
    help="cross-entropy, or weighted-cross-entropy (log inverse frequency).",
)
@click.option(
    "--keep-best",
    type=click.IntRange(0),
    default=0,
    metavar="K",
    help="Keep the K checkpoints with the lowest validation loss, for an ensemble.",
)
@click.option(
    "--validation-share",
    type=Finite(0, 1, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    help="Where the data has no split of its own.",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option("--workers", type=click.IntRange(0), default=1, show_default=True, help="Processes that decode.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option(
    "--init",
    default="",
    metavar="imagenet|FILE",
    help="Starting weights: published ones, fetched once, or a .pth, .safetensors or checkpoint.",
)
@click.option("--resume", is_flag=True, help="Go on with the run in the output folder.")
@click.option("--overwrite", is_flag=True, help="Start again in a folder that holds a run.")
@version_option
@click.pass_context
def main(ctx: click.Context, /, output: Path | None, resume: bool, overwrite: bool, **options: Any) -> None:
    """Train a segmentation or classification model on labelled images.

    Writes best.pt, last.pt, history.csv, split.csv and probe/ (a few validation images that export verifies on) into runs/MODEL.
    Ctrl-C leaves a last.pt that --resume goes on from.

    \b
    dlcv-train --model fcn8s --data tiles/ --dataset deepglobe
    dlcv-train --model fcn8s --data sample --width 0.25 --epochs 8
    dlcv-train --model resnet18 --data images/ --epochs 20
    """
    from dlcv.train.models.registry import model_entry

    model_entry(options["model"])  # before torch is loaded, so that a wrong name is told at once
    if resume and overwrite:
        raise UsageError("--resume goes on with the run and --overwrite starts again; pass one of them")

    from dlcv.train import run
    from dlcv.train.settings import TrainSettings, model_options, require_own_options

    typed = {k for k in options if ctx.get_parameter_source(k) is click.core.ParameterSource.COMMANDLINE}
    require_own_options(options["model"], model_entry(options["model"]).task, typed)
    options["options"] = model_options(options["options"])
    options["classes"] = tuple(filter(None, map(str.strip, options["classes"].split(","))))
    folder = output or Path("runs") / options["model"]
    if resume:
        given = {k: v for k, v in options.items() if k in typed or k == "model"}
        trainer = run.resume(folder, given, say=note)
    else:
        trainer = run.start(TrainSettings(**options), folder, overwrite=overwrite, say=note)
    scores = trainer.train()
    if scores is None:
        note(f"{folder}: all {trainer.run.settings.epochs} epochs were done already; train further with --epochs N")
    name = scores.headline_name if scores else "result"
    export = f"dlcv-export --model {options['model']}"
    best = "" if output is None else f" --checkpoint {quote(str(folder / 'best.pt'))}"
    note(f"best {name} {trainer.best:.4f}: {folder / 'best.pt'}; export it with: {export}{best}")
    if kept := trainer.kept.paths:
        members = " ".join(f"--checkpoint {quote(str(path))}" for path in kept)
        note(f"lowest validation losses, for an ensemble: {export} {members}")
