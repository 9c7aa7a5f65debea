"""How long, where and how a run goes: `ScheduleSettings`, `ComputeSettings`."""

from __future__ import annotations

from pathlib import Path

import click

OPTIONS = (
    click.option(
        "--epochs",
        type=click.IntRange(0),
        default=40,
        show_default=True,
        help="Passes over the images, at most; 0 takes the weights of --init as they are.",
    ),
    click.option(
        "--patience",
        type=click.IntRange(0),
        default=0,
        metavar="EPOCHS",
        help="Stop after so many epochs without a better score.",
    ),
    click.option(
        "--keep-best",
        type=click.IntRange(0),
        default=0,
        metavar="K",
        help="Keep the K checkpoints with the lowest validation loss, for an ensemble.",
    ),
    click.option(
        "--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="The same gives the same run."
    ),
    click.option("--workers", type=click.IntRange(0), default=1, show_default=True, help="Processes that decode."),
    click.option(
        "--sync-batchnorm", is_flag=True, help="torchrun, GPUs: batch normalisation over all processes' images."
    ),
    click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda."),
    click.option(
        "--amp", type=click.Choice(["off", "bf16", "fp16"]), default="off", show_default=True, help="Mixed precision."
    ),
    click.option(
        "--channels-last/--no-channels-last",
        default=True,
        show_default=True,
        help="How weights lie in memory; mostly quicker.",
    ),
    click.option(
        "--config",
        type=click.Path(path_type=Path),
        default=None,
        metavar="FILE.toml",
        help="Options from a file, by the same names; the command line wins.",
    ),
    click.option(
        "--dry-run", is_flag=True, help="Print the settings as TOML and what would be trained; train nothing."
    ),
    click.option("--resume", is_flag=True, help="Go on with the run in the output folder."),
    click.option("--overwrite", is_flag=True, help="Start again in a folder that holds a run."),
)
