"""Options of a low precision that would have no effect: refused rather than ignored."""

from __future__ import annotations

import click

from dlcv.runtime.cli.common import typed_options
from dlcv.runtime.errors import UsageError

FOR = {
    "calibration_data": ("int8", "auto"), "calibration_tiles": ("int8", "auto"), "calibration": ("int8", "auto"),
    "repair": ("fp16", "bf16", "int8", "auto"),
}  # fmt: skip
"""By parameter: the precisions that it has an effect on."""
HELD = ("min_share", "max_drop")
"""What a float32 plan is held to, and a float32 graph is not."""


def refuse_without_effect(ctx: click.Context, precision: str, file_format: str) -> None:
    """Refuses what was typed for another precision.

    Raises:
        UsageError: names the options, and what they are for.
    """
    for name, option in typed_options(ctx).items():
        if precision not in FOR.get(name, (precision,)):
            raise UsageError(
                f"{option} is for --precision {' or '.join(FOR[name])}; {precision} needs none, leave it out"
            )
        if name in HELD and precision == "fp32" and file_format == "onnx":
            raise UsageError(
                f"{option} holds a low precision or a plan; a graph in fp32 is held to torch itself, leave it out"
            )
