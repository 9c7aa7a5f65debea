"""How the run goes: batches, threads, what it does with a run that is there."""

from __future__ import annotations

import click

from dlcv.runtime.cli.common import Finite

OPTIONS = (
    click.option(
        "--batch",
        type=click.IntRange(1),
        default=None,
        help="Tiles at once.  [default: tried out on a GPU; on a CPU 1 to 8, by size and number]",
    ),
    click.option(
        "--decoders", type=click.IntRange(1), default=None, help="Threads that read tiles.  [default: one a core]"
    ),
    click.option("--writers", type=click.IntRange(1), default=None, help="Threads that write.  [default: one a core]"),
    click.option(
        "--tile-timeout",
        "tile_timeout_s",
        type=Finite(0),
        default=60.0,
        show_default=True,
        metavar="SECONDS",
        help="A tile that takes longer to read fails; 0 waits for ever.",
    ),
    click.option(
        "--isolate",
        is_flag=True,
        help="Decode in processes of their own: a decoder that crashes or hangs costs one tile.",
    ),
    click.option(
        "--session-timeout",
        "session_timeout_s",
        type=Finite(0),
        default=600.0,
        show_default=True,
        metavar="SECONDS",
        help="A batch that takes longer restarts the session; 0 waits for ever.",
    ),
    click.option(
        "--resume", is_flag=True, help="Go on with the run in the output folder: skip the tiles that are done."
    ),
    click.option("--overwrite", is_flag=True, help="Start again in a folder that holds a run."),
    click.option(
        "--fsync", is_flag=True, help="Flush to the disk every 5 s and at the end: a power cut costs seconds."
    ),
    click.option("--ray", metavar="ADDRESS", default=None, help="Run on a Ray cluster: host:port, auto, or local."),
    click.option(
        "--ray-workers",
        type=click.IntRange(1),
        default=None,
        help="Sessions there.  [default: one a GPU, or a machine]",
    ),
    click.option("--quiet", is_flag=True, help="No progress."),
)
