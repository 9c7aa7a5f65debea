"""Resuming a finished run beside listing and stat of the same folders: `python -m dlcv.benchmarks.pipeline.resume`."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import click

from dlcv.benchmarks.timing import MIN_PAIRS, paired_ratio
from dlcv.runtime.cli.common import Command
from dlcv.runtime.machine import cpu_name
from dlcv.runtime.tables import markdown_table


@click.command("resume", cls=Command)
@click.option("--count", type=click.IntRange(1), default=5000, show_default=True)
@click.option("--rounds", type=click.IntRange(3), default=MIN_PAIRS, show_default=True)
def main(count: int, rounds: int) -> None:
    """Print the paired ratio."""
    from dlcv.benchmarks.pipeline.scenes import many_tiles
    from dlcv.benchmarks.untrained import untrained
    from dlcv.runtime.run.inference import InferSettings, infer

    with tempfile.TemporaryDirectory() as scratch:
        tiles, masks = Path(scratch) / "tiles", Path(scratch) / "masks"
        many_tiles(tiles, count, 32)
        graph = untrained(Path(scratch) / "fcn8s.onnx", 0.05, 32)

        def run(resume: bool) -> int:
            settings = InferSettings.of(
                sources=(str(tiles),), engine=graph, output=masks, device="cpu", quiet=True, resume=resume
            )
            return infer(settings).resumed

        run(resume=False)
        assert run(resume=True) == count
        ratio = paired_ratio(lambda: run(resume=True), lambda: list_and_stat(tiles, masks), rounds)
    header = ["tiles", "resume, ms", "listing and stat, ms", "resume / listing and stat, median (quartiles)"]
    click.echo(markdown_table(header, [[str(count), f"{ratio.a_s * 1000:.0f}", f"{ratio.b_s * 1000:.0f}", str(ratio)]]))
    click.echo(f"\nIn one process, in turn, {cpu_name()}; the engine's file is read and hashed in each resume.")


def list_and_stat(*folders: Path) -> int:
    """Lists folders with all below them and asks for each file's status; gives the number of files."""
    files, below = 0, [str(folder) for folder in folders]
    while below:
        with os.scandir(below.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    below.append(entry.path)
                else:
                    os.stat(entry.path)
                    files += 1
    return files


if __name__ == "__main__":
    main()
