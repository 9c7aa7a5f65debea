"""Lanes and batches of a CPU session, on tiles in memory: `python -m dlcv.benchmarks.pipeline.lanes --help`."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import click

from dlcv.benchmarks.timing import MIN_PAIRS, seconds_of
from dlcv.runtime.cli.common import Command
from dlcv.runtime.tables import markdown_table


@click.command("lanes", cls=Command)
@click.option("--engine", type=click.Path(path_type=Path), required=True, help="An .onnx; tiles must have its size.")
@click.option("--count", type=click.IntRange(1), default=16, show_default=True)
@click.option("--rounds", type=click.IntRange(3), default=MIN_PAIRS, show_default=True)
@click.argument("tiles", nargs=-1, required=True)
def main(engine: Path, count: int, rounds: int, tiles: tuple[str, ...]) -> None:
    """Print the time of each layout beside one lane a core with batches of 1, all in turn."""
    from dlcv.runtime.machine import cpu_count
    from dlcv.runtime.pipeline.pipeline import Pipeline
    from dlcv.runtime.pipeline.settings import PipelineSettings
    from dlcv.runtime.sessions import Session, open_session
    from dlcv.runtime.tiles.decode import decode_file
    from dlcv.runtime.tiles.listing import find_tiles

    images = [decode_file(tile.path) for tile in find_tiles(tiles)[:count]]
    layouts = [(lanes, batch) for lanes in (cpu_count(), 1) for batch in (1, 4)]
    sessions = {lanes: open_session(engine, device="cpu", lanes=lanes) for lanes, _ in layouts}

    def run(session: Session, batch: int) -> None:
        settings = PipelineSettings(batch=batch)
        pipeline: Pipeline[Any, None] = Pipeline(session, lambda image: image, lambda image, mask: None, settings)
        pipeline.run(images, lambda outcome: None)

    times: dict[tuple[int, int], list[float]] = {layout: [] for layout in layouts}
    for round_number in range(rounds + 1):
        for lanes, batch in layouts:
            seconds = seconds_of(lambda lanes=lanes, batch=batch: run(sessions[lanes], batch))  # type: ignore[misc]
            if round_number:  # the first round warms up
                times[lanes, batch].append(seconds)
    base = times[layouts[0]]
    rows = [
        [f"{lanes} lanes, batch {batch}", f"{statistics.median(a / b for a, b in zip(values, base)):.2f}"]
        for (lanes, batch), values in times.items()
    ]
    click.echo(markdown_table(["", f"time beside {layouts[0][0]} lanes, batch 1"], rows))


if __name__ == "__main__":
    main()
