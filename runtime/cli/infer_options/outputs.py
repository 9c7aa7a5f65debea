"""What is written, and where: `OutputSettings` and the output folder."""

from __future__ import annotations

from pathlib import Path

import click

from dlcv.runtime.cli.common import Finite

OPTIONS = (
    click.option(
        "--output",
        type=click.Path(path_type=Path),
        default=None,
        help="Folder of the results, manifest.csv and summary.json.  [default: masks, or predictions for a classifier]",
    ),
    click.option(
        "--name-template",
        default=None,
        help="Segmentation: output names, of {path} {folder} {name} {stem} {suffix}.  [default: {path}.png]",
    ),
    click.option(
        "--format",
        type=click.Choice(["csv", "jsonl"]),
        default=None,
        help="Classification: predictions.csv, or predictions.jsonl: a JSON object a line.  [default: csv]",
    ),
    click.option(
        "--top-k",
        type=click.IntRange(1),
        default=None,
        help="Classification: classes in a row.  [default: 5, or all of fewer]",
    ),
    click.option(
        "--overlay", is_flag=True, default=None, help="Segmentation: overlays/: the image, classes in colour."
    ),
    click.option("--alpha", type=Finite(0, 1), default=None, help="Of overlays: share of the colour.  [default: 0.4]"),
    click.option(
        "--overlay-format", type=click.Choice(["jpg", "png"]), default=None, help="Of overlays.  [default: jpg]"
    ),
    click.option(
        "--confidence",
        is_flag=True,
        default=None,
        help="Segmentation: confidence/: grey maps; means in confidence.csv. Needs probabilities.",
    ),
    click.option("--polygons", is_flag=True, default=None, help="Segmentation: polygons/: GeoJSON of each region."),
    click.option(
        "--simplify",
        type=Finite(0),
        default=None,
        metavar="PIXELS",
        help="Of polygons: how far a border may move.  [default: 0]",
    ),
    click.option(
        "--min-area",
        type=click.IntRange(0),
        default=None,
        metavar="PIXELS",
        help="Of polygons: leave smaller regions out.  [default: 0]",
    ),
    click.option(
        "--areas", is_flag=True, default=None, help="Segmentation: areas.csv: the area of each class in each tile."
    ),
    click.option("--gallery", is_flag=True, default=None, help="gallery/index.html: all tiles to look through."),
)
