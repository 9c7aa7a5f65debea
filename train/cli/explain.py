"""`dlcv-explain`: a run in, pictures of what its model has learnt out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dlcv.runtime.cli.common import Command, note, version_option
from dlcv.train.cli.explain_options import explain_options, take_explain
from dlcv.train.cli.own_models import own_models
from dlcv.train.folder.names import SPLIT_NAME


@click.command("dlcv-explain", cls=Command)
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="Labelled images: those for validation where the data says so.",
)
@click.option("--dataset", default=None, help="How masks name classes.  [default: as dlcv-evaluate]")
@click.option(
    "--split",
    type=click.Path(path_type=Path),
    default=None,
    help="Its validation images alone.  [default: split.csv of a run's folder]",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder of the pictures.  [default: explain/ beside the checkpoint]",
)
@explain_options
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@own_models
@version_option
def main(
    run: Path, data: Path, dataset: str | None, split: Path | None, output: Path | None, device: str, **options: Any
) -> None:
    """Pictures of what the model of RUN has learnt: a run's folder, or one of its checkpoints.

    First-layer weights, t-SNE of its features, saliency, and what its filters look for, each with its data. The pictures'
    files are printed.

    \b
    dlcv-explain runs/resnet18 --data images/
    dlcv-explain runs/fcn8s/best.pt --data tiles/ --feature-pictures filters --layers fc6,fc7
    """
    from dlcv.train.explain.options import ExplainOptions

    chosen: ExplainOptions = take_explain(options, device=device)
    checkpoint, split = _files_of(run, split)

    from dlcv.runtime.datasets.loading import labelled_for
    from dlcv.train.checkpoints.checkpoint import load_checkpoint, masks_of
    from dlcv.train.explain.run import explain

    loaded = load_checkpoint(checkpoint)
    learned = masks_of(loaded, checkpoint)
    labelled = labelled_for(loaded.card, data, dataset=dataset, learned=learned, split=split, say=note)
    for picture in explain(checkpoint, labelled, output or checkpoint.parent / "explain", chosen, note):
        click.echo(str(picture.png))
        note(f"{picture.title}: {picture.caption}")


def _files_of(run: Path, split: Path | None) -> tuple[Path, Path | None]:
    """The checkpoint, and which images validate: of a run's folder its `best.pt` and `split.csv`."""
    if not run.is_dir():
        return run, split
    own = run / SPLIT_NAME
    return run / "best.pt", split or (own if own.is_file() else None)
