"""What is written, and where: `OutputSettings` and the output folder."""

from __future__ import annotations

from pathlib import Path

import click

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
)
