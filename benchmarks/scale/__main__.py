"""`python -m dlcv.benchmarks.scale`."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import click

from dlcv.benchmarks.scale.measuring import measure, run_processes
from dlcv.benchmarks.scale.stations import Measured, bound_of, stations_of, stations_on_paper
from dlcv.runtime.cli.common import Command, Finite, note
from dlcv.runtime.tables import markdown_table


@click.command("scale", cls=Command)
@click.option(
    "--engine", type=click.Path(path_type=Path), default=None, help="An .onnx.  [default: an untrained narrow fcn8s]"
)
@click.option(
    "--tiles", type=click.Path(path_type=Path), default=None, help="Folder of tiles.  [default: generated scenes]"
)
@click.option("--count", type=click.IntRange(4), default=64, show_default=True)
@click.option("--size", type=click.IntRange(32), default=512, show_default=True, help="Side of generated scenes.")
@click.option(
    "--rounds", type=click.IntRange(1), default=3, show_default=True, help="Of 1 and 2 processes; the median counts."
)
@click.option(
    "--session-ms",
    type=Finite(0),
    default=None,
    help="Host to host of dlcv-bench, an image, in ms: the session runs on GPUs.",
)
@click.option(
    "--gpus", "gpu_counts", type=click.IntRange(1), multiple=True, help="Several times.  [default: 1, 2, 4, 8]"
)
@click.option(
    "--cores", "cores", type=click.IntRange(1), default=None, help="Of the machine on paper.  [default: this one's]"
)
@click.option(
    "--disk", type=Finite(0, min_open=True), default=500.0, show_default=True, help="Its disk, in MB a second."
)
@click.option(
    "--link",
    type=Finite(0, min_open=True),
    default=1250.0,
    show_default=True,
    help="Its network, in MB a second; 10 Gbit/s are 1250.",
)
@click.option(
    "--check/--no-check",
    default=True,
    show_default=True,
    help="Run 1 and 2 processes and hold the prediction against them.",
)
def main(
    engine: Path | None, tiles: Path | None, count: int, size: int, rounds: int, session_ms: float | None,
    gpu_counts: tuple[int, ...], cores: int | None, disk: float, link: float, check: bool,
) -> None:  # fmt: skip
    """Tiles per second that a machine can reach at most, from what a tile costs here, as Markdown."""
    from dlcv.benchmarks.pipeline.scenes import tile_paths
    from dlcv.benchmarks.untrained import untrained
    from dlcv.runtime.card.reader import read_card
    from dlcv.runtime.errors import UsageError
    from dlcv.runtime.machine import cpu_count, cpu_name

    if engine is not None and (task := read_card(engine).task) != "segmentation":
        raise UsageError(f"{engine} is for {task}; expected an engine for segmentation, whose tiles become masks")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        paths = tile_paths(tiles, folder / "tiles", count, size)
        graph = engine or untrained(folder / "fcn8s.onnx", 0.05, 224)
        note(f"{len(paths)} tiles: what one costs")
        measured = measure(paths, graph, folder)
        if check:
            click.echo(_check_table(measured, paths, graph, folder, rounds) + "\n")
    costs = ", ".join(f"{name} {1000 * seconds:.2f} ms" for name, seconds in measured.cpu_s.items())
    click.echo(
        f"A tile costs, of a core: {costs}; {measured.read_bytes / 1e3:.0f} KB are read and {measured.written_bytes / 1e3:.0f} KB "
        f"written. {cpu_count()} cores of {cpu_name()}.\n"
    )
    own = cores or cpu_count()
    if session_ms is not None:
        measured = replace(measured, session_s=session_ms / 1000)
    click.echo(_paper_table(measured, own, gpu_counts or (1, 2, 4, 8), disk, link))


def _check_table(measured: Measured, paths: Sequence[Path], engine: Path, folder: Path, rounds: int) -> str:
    from dlcv.runtime.machine import cpu_count

    rows = []
    for processes in range(1, min(2, cpu_count()) + 1):
        runs = [run_processes(paths, engine, folder, processes) for _ in range(rounds)]
        predicted = bound_of(stations_of(measured, cores=processes)).per_second
        reached = median(one.per_second / predicted for one in runs)
        left = median(one.per_second / predicted / (1 - one.others) for one in runs)
        seen = median(one.per_second for one in runs)
        rows.append([str(processes), f"{predicted:.1f}", f"{seen:.1f}", f"{reached:.2f}", f"{left:.2f}"])
    header = [
        "processes, a core each",
        "predicted tiles/s",
        "measured tiles/s",
        "measured / predicted",
        "of what others left",
    ]
    return markdown_table(header, rows)


def _paper_table(measured: Measured, cores: int, gpu_counts: Sequence[int], disk: float, link: float) -> str:
    rows = []
    on_gpus = measured.session_s is not None
    for number in gpu_counts:
        stations = stations_on_paper(measured, number, cores, disk, link)
        bound = bound_of(stations)
        shares = [f"{bound.per_second / one.per_second:.0%}" for one in stations]
        rows.append([str(number), f"{bound.per_second:.0f}", bound.by, *shares])
    header = ["GPUs" if on_gpus else "machines", "tiles/s at most", "set by", *(f"{one.name} busy" for one in stations)]
    return markdown_table(header, rows)


if __name__ == "__main__":
    main()
