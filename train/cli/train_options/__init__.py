"""The options of `dlcv-train`, a file a group, as `setting_groups.py` groups what they set."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, TypeVar

from dlcv.train.cli.train_options import data, imbalance, model, optimizer, run, watch

F = TypeVar("F", bound=Callable[..., Any])

GROUPS = (model.OPTIONS, data.OPTIONS, optimizer.OPTIONS, imbalance.OPTIONS, run.OPTIONS, watch.OPTIONS)
HEADINGS = {
    "--model": "Model",
    "--data": "Data",
    "--batch": "Steps",
    "--loss": "Rare classes",
    "--epochs": "Run",
    "--snapshot-epochs": "Kept for the report",
    "--version": "Other",
}
"""Of `--help`: a group's first option, and its heading."""


def train_options(function: F) -> F:
    """Adds all of them; `--help` shows them in this order."""
    every = [option for group in GROUPS for option in group]
    return reduce(lambda decorated, option: option(decorated), reversed(every), function)
