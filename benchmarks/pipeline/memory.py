"""Peak memory of dlcv-infer by the number of tiles: `python -m dlcv.benchmarks.pipeline.memory`."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from dlcv.runtime.cli.common import Command
from dlcv.runtime.tables import markdown_table

PEAK = """
import sys
from dlcv.runtime.cli.infer import main
main(sys.argv[1:], standalone_mode=False)
print(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0])
"""
"""Not `getrusage`: its peak is that of the process that started this one, where that was larger."""


@click.command("memory", cls=Command)
@click.option("--count", "counts", type=click.IntRange(1), multiple=True, default=(200, 5000), show_default=True)
@click.option("--size", type=click.IntRange(32), default=256, show_default=True, help="Side of the tiles.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
def main(counts: tuple[int, ...], size: int, rounds: int) -> None:
    """Print the peak of resident memory, a process each."""
    from dlcv.benchmarks.pipeline.scenes import many_tiles
    from dlcv.benchmarks.untrained import untrained

    peaks: dict[int, list[float]] = {count: [] for count in counts}
    with tempfile.TemporaryDirectory() as scratch:
        graph = untrained(Path(scratch) / "fcn8s.onnx", 0.05, size)
        for count in counts:
            many_tiles(Path(scratch) / str(count), count, size)
        for _ in range(rounds):
            for count in counts:
                peaks[count].append(peak_mb(Path(scratch) / str(count), graph, Path(scratch) / "masks"))
    first = statistics.median(peaks[counts[0]])
    rows = [
        [
            str(count),
            f"{statistics.median(found):.1f}",
            f"{min(found):.1f} to {max(found):.1f}",
            f"{statistics.median(found) / first:.3f}",
        ]
        for count, found in peaks.items()
    ]
    click.echo(markdown_table(["tiles", "peak, MB, median", "range", f"beside {counts[0]}"], rows))


def peak_mb(tiles: Path, engine: Path, output: Path) -> float:
    """Peak resident memory, in MB, of `dlcv-infer` over a folder, in a process of its own."""
    options = ["--engine", engine, "--output", output, "--device", "cpu", "--quiet", "--overwrite"]
    command = [sys.executable, "-c", PEAK, str(tiles), *map(str, options)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return int(done.stdout.split()[-1]) * 1.024 / 1000  # KiB


if __name__ == "__main__":
    main()
