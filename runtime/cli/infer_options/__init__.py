"""The options of `dlcv-infer`, a file a group, as `infer_settings.py` groups what they set."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, TypeVar

from dlcv.runtime.cli.infer_options import engine, fitting, outputs, run

F = TypeVar("F", bound=Callable[..., Any])

GROUPS = (engine.OPTIONS, fitting.OPTIONS, outputs.OPTIONS, run.OPTIONS)
HEADINGS = {
    "--engine": "Engine",
    "--fit": "From tiles to the engine",
    "--output": "Output",
    "--overlay": "Beside the masks",
    "--batch": "Run",
    "--version": "Other",
}
"""Of `--help`: a group's first option, and its heading."""


def infer_options(function: F) -> F:
    """Adds all of them; `--help` shows them in this order."""
    every = [option for group in GROUPS for option in group]
    return reduce(lambda decorated, option: option(decorated), reversed(every), function)
