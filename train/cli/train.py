"""`dlcv-train`: labelled tiles in, a run with checkpoints out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dlcv.runtime.cli.common import Command, note, version_option
from dlcv.runtime.errors import UsageError


@click.command("dlcv-train", cls=Command)
@click.option("--model", default="fcn8s", show_default=True, help="Which model; an unknown name lists the known ones.")
@click.option(
    "--data",
    default="sample",
    show_default=True,
    help="Folder of NAME_sat.jpg + NAME_mask.png, or `sample`: scenes that dlcv generates.",
)
@click.option(
    "--dataset",
    default="deepglobe",
    show_default=True,
    help="How masks name classes: deepglobe, dubai512 or FILE.json.",
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
@click.option("--epochs", type=click.IntRange(1), default=40, show_default=True)
@click.option("--batch", type=click.IntRange(1), default=8, show_default=True, help="Crops a step.")
@click.option(
    "--crop", type=click.IntRange(1), default=256, show_default=True, help="Side of the random crops, in pixels."
)
@click.option("--learning-rate", type=click.FloatRange(0), default=0.0, help="Of AdamW.  [default: 0.00025 / width]")
@click.option("--weight-decay", type=click.FloatRange(0), default=1e-4, show_default=True)
@click.option(
    "--loss",
    default="cross-entropy",
    show_default=True,
    help="cross-entropy, or weighted-cross-entropy (log inverse frequency).",
)
@click.option(
    "--validation-share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    help="Where DIR has no train/ and validation/.",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option("--workers", type=click.IntRange(0), default=1, show_default=True, help="Processes that decode tiles.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--init", default="", metavar="FILE", help="Starting weights: a published VGG16 .pth, or a checkpoint.")
@click.option("--resume", is_flag=True, help="Go on with the run in the output folder.")
@click.option("--overwrite", is_flag=True, help="Start again in a folder that holds a run.")
@version_option
@click.pass_context
def main(ctx: click.Context, /, output: Path | None, resume: bool, overwrite: bool, **options: Any) -> None:
    """Train a segmentation model on labelled tiles.

    Writes best.pt, last.pt, history.csv and probe/ (a few validation tiles that export verifies on) into runs/MODEL.
    Ctrl-C leaves a last.pt that --resume goes on from.

    \b
    dlcv-train --model fcn8s --data tiles/ --dataset deepglobe
    dlcv-train --model fcn8s --data sample --width 0.25 --epochs 8
    """
    from dlcv.train.models.registry import model_entry

    model_entry(options["model"])  # before torch is loaded, so that a wrong name is told at once
    if resume and overwrite:
        raise UsageError("--resume goes on with the run and --overwrite starts again; pass one of them")

    from dlcv.train import run
    from dlcv.train.settings import TrainSettings

    folder = output or Path("runs") / options["model"]
    if resume:
        typed = {
            k: v for k, v in options.items() if ctx.get_parameter_source(k) is click.core.ParameterSource.COMMANDLINE
        }
        trainer = run.resume(folder, typed | {"model": options["model"]}, say=note)
    else:
        trainer = run.start(TrainSettings(**options), folder, overwrite=overwrite, say=note)
    scores = trainer.train()
    if scores is None:
        note(f"{folder}: all {trainer.run.settings.epochs} epochs were done already; train further with --epochs N")
    note(
        f"best mean IoU {trainer.best_mean_iou:.4f}: {folder / 'best.pt'}; export it with: dlcv-export --model {options['model']}"
    )
