"""What is trained on, and where it goes."""

from __future__ import annotations

from pathlib import Path

import click

from dlcv.runtime.cli.common import Finite

OPTIONS = (
    click.option(
        "--data",
        default="sample",
        show_default=True,
        help="Segmentation: a folder of NAME_sat.jpg + NAME_mask.png. Classification: a folder per class, a CSV, or files CLASS_INDEX.png. Either: `sample`, images that dlcv generates.",
    ),
    click.option(
        "--dataset",
        default="deepglobe",
        show_default=True,
        help="Segmentation: how masks name classes: deepglobe, dubai512 or FILE.json.",
    ),
    click.option(
        "--classes",
        default="",
        metavar="NAME,...",
        help="Classification: learn these classes only, in this order.  [default: all]",
    ),
    click.option(
        "--validation-share",
        type=Finite(0, 1, min_open=True, max_open=True),
        default=0.2,
        show_default=True,
        help="Where the data has no split of its own.",
    ),
    click.option(
        "--unreadable",
        type=click.Choice(["stop", "leave-out"]),
        default="stop",
        show_default=True,
        help="Images that cannot be used: stop at the first, or read all before training, list such in unreadable.csv and go on without them.",
    ),
    click.option(
        "--crop",
        type=click.IntRange(0),
        default=0,
        help="Side of the random crops, in pixels.  [default: 256; classification: the images' shorter side, at most 224]",
    ),
    click.option(
        "--short-side",
        type=click.IntRange(0),
        default=0,
        help="Classification: evaluation scales the shorter side to this and takes the middle.  [default: at most 8/7 of the crop]",
    ),
    click.option(
        "--flips",
        type=click.Choice(["both", "horizontal", "vertical", "none"]),
        default="both",
        show_default=True,
        help="Random flips in training.",
    ),
    click.option(
        "--least-area",
        type=Finite(0, 1, min_open=True),
        default=0.35,
        show_default=True,
        help="Classification: least share of an image that a random resized crop takes; 1 takes all.",
    ),
    click.option(
        "--output", type=click.Path(path_type=Path), default=None, help="Folder of the run.  [default: runs/MODEL]"
    ),
)
