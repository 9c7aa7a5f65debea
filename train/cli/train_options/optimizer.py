"""How a step is made: `OptimizerSettings`, and its rate over the run: `ScheduleSettings`."""

from __future__ import annotations

import click

from dlcv.runtime.cli.common import Finite

OPTIONS = (
    click.option("--batch", type=click.IntRange(0), default=0, help="Images at once.  [default: 8; classification 64]"),
    click.option(
        "--optimizer",
        type=click.Choice(["adamw", "sgd"]),
        default="adamw",
        show_default=True,
        help="How steps are made.",
    ),
    click.option(
        "--learning-rate",
        type=Finite(0),
        default=0.0,
        help="Highest.  [default: SGD 0.01; AdamW 0.00025 / width, with batch normalisation 0.001 / width up to 0.004]",
    ),
    click.option("--weight-decay", type=Finite(0), default=1e-4, show_default=True, help="Pull of weights to 0."),
    click.option("--momentum", type=Finite(0, 1, max_open=True), default=0.9, show_default=True, help="Of SGD."),
    click.option(
        "--schedule",
        type=click.Choice(["poly", "cosine", "constant"]),
        default="poly",
        show_default=True,
        help="How the learning rate falls over the run.",
    ),
    click.option(
        "--warmup",
        default="auto",
        metavar="N|Nepochs",
        help="Steps or epochs of rising rate.  [default: 100, at most a tenth]",
    ),
    click.option(
        "--accumulate",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        metavar="N",
        help="Batches a step, for steps that memory does not hold at once.",
    ),
    click.option(
        "--clip-norm",
        type=Finite(0),
        default=1.0,
        show_default=True,
        help="Highest norm of the gradient; 0 for any.",
    ),
    click.option(
        "--ema",
        type=Finite(0, 1, max_open=True),
        default=0.0,
        metavar="DECAY",
        help="Validate and keep a moving average of the weights, such as 0.999.",
    ),
)
