"""dlcv-sample: writes labelled images that the package generates, to try everything with nothing downloaded."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from dlcv.runtime.cli.common import Command, note, version_option

# a model of each task to go on with
_NEXT = {"segmentation": "fcn8s", "classification": "resnet18"}


@click.command("dlcv-sample", cls=Command)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--task",
    type=click.Choice(tuple(_NEXT)),
    default="segmentation",
    show_default=True,
    help="Scenes with masks, or patches in a folder per class.",
)
@click.option(
    "--tiles",
    type=int,
    show_default="96; 240 patches",
    help="Images for training; of each class a sixth of the patches.",
)
@click.option("--validation", type=int, show_default="24; 60 patches", help="Images for validation, likewise.")
@click.option(
    "--size",
    type=int,
    show_default="512; 64 for patches",
    help="Height and width of an image in pixels; patches to 128.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed gives other images.")
@click.option("--overwrite", is_flag=True, help="Replace the sample that DIR holds already.")
@version_option
def main(
    *, folder: Path, task: str, tiles: int | None, validation: int | None, size: int | None, seed: int, overwrite: bool
) -> None:
    """Writes a labelled land-cover set into DIR, which is new or empty.

    The scenes are drawn by the package: DIR/train and DIR/validation hold NAME_sat.jpg and NAME_mask.png, seven classes
    in DeepGlobe's colours. With --task classification they hold CLASS/NNNN.jpg: patches of scenes that one of six
    classes covers to 60 % or more, as many of each. The same options give the same images.
    """
    from dlcv.runtime.progress import Progress
    from dlcv.train.data.sample import sample_counts, write_sample

    counts = sample_counts(task, tiles=tiles, validation=validation)
    with Progress(sum(counts.values()), "scenes" if task == "segmentation" else "patches") as progress:
        write_sample(
            folder,
            task=task,
            tiles=tiles,
            validation=validation,
            size=size,
            seed=seed,
            overwrite=overwrite,
            progress=lambda done, total: progress.advance(),
        )
    click.echo(folder)
    for split, asked in (("train", tiles), ("validation", validation)):
        if asked is not None and asked != counts[split]:
            note(f"{split}: {asked} is no multiple of 6 classes; wrote {counts[split]}, {counts[split] // 6} of each")
    note(f"next: dlcv-train --model {_NEXT[task]} --data {shlex.quote(str(folder))}")
