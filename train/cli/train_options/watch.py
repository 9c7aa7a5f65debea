"""What is kept while a run trains, for its report: `WatchSettings`."""

from __future__ import annotations

import click

OPTIONS = (
    click.option(
        "--snapshot-epochs",
        default="",
        metavar="1,10,last",
        help="Segmentation: keep masks at these epochs; middle and last are known.  [default: none]",
    ),
    click.option(
        "--snapshot-tiles",
        default="",
        metavar="NAME,...",
        help="Segmentation: of these validation tiles.  [default: 4 of them; without epochs: 1,middle,last]",
    ),
    click.option(
        "--score-training",
        type=click.IntRange(0),
        default=0,
        metavar="IMAGES",
        help="Score so many training images each epoch, for the curves.",
    ),
    click.option("--tensorboard", is_flag=True, help="Write TensorBoard's event files, too."),
)
