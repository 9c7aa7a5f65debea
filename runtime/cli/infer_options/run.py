"""How the run goes: batches, threads, what it does with a run that is there."""

from __future__ import annotations

import click

OPTIONS = (
    click.option(
        "--batch",
        type=click.IntRange(1),
        default=None,
        help="Tiles at once.  [default: 8; 1 for segmentation on a CPU]",
    ),
    click.option(
        "--resume", is_flag=True, help="Go on with the run in the output folder: skip the tiles that are done."
    ),
    click.option("--overwrite", is_flag=True, help="Start again in a folder that holds a run."),
    click.option("--quiet", is_flag=True, help="No progress."),
)
