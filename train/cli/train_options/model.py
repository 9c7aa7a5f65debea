"""Which model, and what it begins with."""

from __future__ import annotations

import click

from dlcv.runtime.cli.common import Finite
from dlcv.train.cli import own_models

OPTIONS = (
    click.option(
        "--model", default="fcn8s", show_default=True, help="Which model; an unknown name lists the known ones."
    ),
    own_models.OPTION,
    click.option(
        "--width",
        type=Finite(0, 4, min_open=True),
        default=1.0,
        show_default=True,
        help="Factor on the model's channels; 0.25 trains on a laptop.",
    ),
    click.option(
        "--model-option",
        "options",
        multiple=True,
        metavar="NAME=VALUE",
        help="Of the model itself, such as stride_in_1x1=true (ResNets) or auxiliary=true (deeplabv3-resnet101).",
    ),
    click.option(
        "--init",
        default="",
        metavar="imagenet|FILE",
        help="Starting weights: published ones, fetched once, or a .pth, .safetensors or checkpoint.",
    ),
)
