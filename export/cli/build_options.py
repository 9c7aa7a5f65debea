"""The options of a plan's build: `export/builders/options.py`."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
NAMES = (
    "builder", "min_batch", "opt_batch", "max_batch", "workspace_mib", "version_compatible", "hardware_compatible",
    "compute_capabilities",
)  # fmt: skip
"""Attributes of `BuildOptions` that the command sets."""

OPTIONS = (
    click.option(
        "--builder",
        type=click.Choice(["auto", "tensorrt", "tensorrt-rtx"]),
        default="auto",
        show_default=True,
        help="auto: full TensorRT where it imports and a GPU is there, else TensorRT-RTX.",
    ),
    click.option(
        "--min-batch", type=click.IntRange(1, 1024), default=1, show_default=True, help="Smallest batch of a plan."
    ),
    click.option(
        "--opt-batch", type=click.IntRange(1, 1024), default=None, help="Batch that a plan is tuned for.  [default: 8]"
    ),
    click.option(
        "--max-batch", type=click.IntRange(1, 1024), default=16, show_default=True, help="Largest batch of a plan."
    ),
    click.option(
        "--workspace-mib",
        type=click.IntRange(1),
        default=None,
        help="Scratch memory of a plan.  [default: all there is]",
    ),
    click.option("--version-compatible", is_flag=True, help="A plan that newer TensorRT runs too; 8.6 and later."),
    click.option(
        "--hardware-compatible", is_flag=True, help="A plan for every GPU of Ampere and later; 8.6 and later."
    ),
    click.option(
        "--compute-capability",
        "compute_capabilities",
        multiple=True,
        metavar="X.Y",
        help="TensorRT-RTX: a target of the plan; repeat it for several.  [default: its own five]",
    ),
)


def build_options(function: F) -> F:
    """Adds all of them; `--help` shows them in this order."""
    return reduce(lambda decorated, option: option(decorated), reversed(OPTIONS), function)
