"""What counts how much: `ImbalanceSettings`."""

from __future__ import annotations

import click

from dlcv.runtime.cli.common import Finite

OPTIONS = (
    click.option(
        "--loss",
        default="cross-entropy",
        show_default=True,
        help="cross-entropy, weighted-cross-entropy (log inverse frequency), focal, or dice (segmentation).",
    ),
    click.option("--focal-gamma", type=Finite(0), default=2.0, show_default=True, help="Of focal; 0 is cross-entropy."),
    click.option("--balanced-sampling", is_flag=True, help="Draw images of rare classes more often."),
)
