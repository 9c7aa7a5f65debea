"""How many threads a pipeline is given: layouts in turn over the same tiles: `python -m dlcv.benchmarks.pipeline.layout`.

Each layout beside the default (a decoder, a writer and a lane a core, OpenCV's own threads left alone), pair by pair, by the clock
and by CPU time: on a machine that others use the clock tells as much of them as of the layout, CPU time what the threads cost each other.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click

from dlcv.benchmarks.timing import MIN_PAIRS
from dlcv.runtime.cli.common import Command, note
from dlcv.runtime.machine import cpu_count, cpu_name
from dlcv.runtime.tables import markdown_table

STAND_IN_SIDE, STAND_IN_BATCH, STAND_IN_MS = 512, 8, 5.0


class Layout(NamedTuple):
    """Threads of each kind; `cv2_threads` 0 runs OpenCV in the calling thread alone, None leaves it as it is."""

    decoders: int
    writers: int
    lanes: int
    cv2_threads: int | None


@click.command("layout", cls=Command)
@click.option("--engine", type=click.Path(path_type=Path), default=None, help="An .onnx.  [default: int8 fcn8s, fresh]")
@click.option("--width", type=float, default=0.25, show_default=True, help="Of the fresh model.")
@click.option("--input-size", type=click.IntRange(32), default=224, show_default=True, help="Of the fresh model.")
@click.option(
    "--stand-in", is_flag=True, help="A session that sleeps instead, beside which the codec is the slower side."
)
@click.option(
    "--tiles", type=click.Path(path_type=Path), default=None, help="Folder of tiles.  [default: generated scenes]"
)
@click.option("--count", type=click.IntRange(1), default=40, show_default=True)
@click.option("--size", type=click.IntRange(32), default=512, show_default=True, help="Side of generated scenes.")
@click.option("--rounds", type=click.IntRange(3), default=MIN_PAIRS, show_default=True)
def main(
    engine: Path | None, width: float, input_size: int, stand_in: bool, tiles: Path | None, count: int, size: int,
    rounds: int,
) -> None:  # fmt: skip
    """Print the time of each layout beside the default."""
    from dlcv.benchmarks.pipeline.scenes import tile_paths
    from dlcv.benchmarks.untrained import untrained

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        paths = tile_paths(tiles, folder / "tiles", count, size)
        graph = None if stand_in else engine or untrained(folder / "fcn8s.onnx", width, input_size, int8=True)
        ways = ways_of(paths, graph, folder)
        walls: dict[Layout, list[float]] = {layout: [] for layout in ways}
        cpus: dict[Layout, list[float]] = {layout: [] for layout in ways}
        for round_number in range(rounds + 1):
            for layout, way in ways.items():
                cpu, wall = time.process_time(), time.perf_counter()
                way()
                if round_number:  # the first round warms up
                    walls[layout].append(time.perf_counter() - wall)
                    cpus[layout].append(time.process_time() - cpu)
    header = ["decoders", "writers", "lanes", "OpenCV's threads", "time beside the first", "CPU time beside the first"]
    first = next(iter(ways))
    rows = [
        [
            *map(str, layout[:3]),
            "its own" if layout.cv2_threads is None else str(max(1, layout.cv2_threads)),
            _beside(walls[layout], walls[first]),
            _beside(cpus[layout], cpus[first]),
        ]
        for layout in ways
    ]
    click.echo(markdown_table(header, rows))
    click.echo(
        f"\nMedians (quartiles) of {rounds} rounds in turn in one process, {len(paths)} tiles, {cpu_count()} cores of {cpu_name()}. "
        f"The first: {len(paths) / statistics.median(walls[first]):.1f} tiles/s, {1000 * statistics.median(cpus[first]) / len(paths):.1f} CPU ms a tile."
    )


def layouts() -> list[Layout]:
    """Those that are compared, the default first."""
    cores = cpu_count()
    found = [
        Layout(decoders, writers, lanes, None)
        for lanes in (cores, 1)
        for decoders, writers in ((cores, cores), (1, 1), (cores, 1), (1, cores))
    ]
    found += [Layout(cores, cores, cores, 0), Layout(1, 1, cores, 0)]
    return list(dict.fromkeys(found))


def ways_of(paths: list[Path], graph: Path | None, folder: Path) -> dict[Layout, Callable[[], None]]:
    """The tiles through each layout, to be called in turn; without a graph, through a session that sleeps."""
    import cv2

    from dlcv.benchmarks.pipeline.stand_ins import sleeping_session
    from dlcv.runtime.masks import write_mask
    from dlcv.runtime.pipeline.pipeline import Pipeline
    from dlcv.runtime.pipeline.settings import PipelineSettings
    from dlcv.runtime.sessions import Session, open_session
    from dlcv.runtime.tiles.decode import decode_file

    def opened(lanes: int) -> Session:
        if graph is not None:
            return open_session(graph, device="cpu", lanes=lanes)
        session = sleeping_session(STAND_IN_SIDE, STAND_IN_MS)
        session.parallel = lanes
        return session

    sessions = {lanes: opened(lanes) for lanes in {layout.lanes for layout in layouts()}}
    batch = 1 if graph is not None else STAND_IN_BATCH
    as_it_was = cv2.getNumThreads()
    note(f"{next(iter(sessions.values())).description}; OpenCV has {as_it_was} threads")

    def way(layout: Layout) -> None:
        session = sessions[layout.lanes]
        settings = PipelineSettings(batch, layout.decoders, layout.writers, fit="resize")
        cv2.setNumThreads(as_it_was if layout.cv2_threads is None else layout.cv2_threads)
        try:
            Pipeline(
                session, decode_file,
                lambda path, mask: write_mask(folder / f"{path.name}.png", mask, session.card.palette), settings,
            ).run(paths, lambda outcome: None)  # fmt: skip
        finally:
            cv2.setNumThreads(as_it_was)

    return {layout: lambda layout=layout: way(layout) for layout in layouts()}  # type: ignore[misc]


def _beside(values: list[float], base: list[float]) -> str:
    low, median, high = statistics.quantiles([a / b for a, b in zip(values, base, strict=True)], n=4)
    return f"{median:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    main()
