"""dlcv-sample: writes labelled scenes that the package generates, to try everything with nothing downloaded."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from dlcv.runtime.cli.common import Command, note, version_option


@click.command("dlcv-sample", cls=Command)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--tiles", type=int, default=96, show_default=True, help="Scenes for training.")
@click.option("--validation", type=int, default=24, show_default=True, help="Scenes for validation.")
@click.option("--size", type=int, default=512, show_default=True, help="Height and width of a scene in pixels.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed gives other scenes.")
@click.option("--overwrite", is_flag=True, help="Replace the sample that DIR holds already.")
@version_option
def main(*, folder: Path, tiles: int, validation: int, size: int, seed: int, overwrite: bool) -> None:
    """Writes a labelled land-cover set into DIR, which is new or empty.

    The scenes are drawn by the package: DIR/train and DIR/validation hold NAME_sat.jpg and NAME_mask.png, seven classes
    in DeepGlobe's colours. The same options give the same scenes.
    """
    from dlcv.runtime.progress import Progress
    from dlcv.train.data.sample import write_sample

    with Progress(tiles + validation, "scenes") as progress:
        write_sample(
            folder,
            tiles=tiles,
            validation=validation,
            size=size,
            seed=seed,
            overwrite=overwrite,
            progress=lambda done, total: progress.advance(),
        )
    click.echo(folder)
    note(f"next: dlcv-train --model fcn8s --data {shlex.quote(str(folder))}")
