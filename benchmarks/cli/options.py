"""Options that the commands on labelled images share."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import click

from dlcv.runtime.cli import session_options
from dlcv.runtime.cli.trust_options import TRUST_OPTIONS

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--data",
        type=click.Path(path_type=Path),
        required=True,
        help="Labelled images: those for validation where the data says so, else all; a run's probe/ serves.",
    ),
    click.option(
        "--dataset",
        default=None,
        help="How masks name classes.  [default: dataset.json in DIR, else the checkpoint's, else the one with the engine's classes]",
    ),
    click.option(
        "--split", type=click.Path(path_type=Path), default=None, help="A run's split.csv: its validation images alone."
    ),
    *session_options.OPTIONS,
    *TRUST_OPTIONS,
    click.option(
        "--json", "json_file", type=click.Path(path_type=Path), default=None, help="Write the result there too."
    ),
)


def labelled_data_options(function: F) -> F:
    """Adds `--data`, `--dataset`, `--split`, `--device`, `--session`, `--compute`, `--json` (as `json_file`) and those of `take_trust`."""
    return reduce(lambda wrapped, option: option(wrapped), reversed(_OPTIONS), function)
