"""File to file with a session that sleeps, beside the slower of its two sides: `python -m dlcv.benchmarks.pipeline.stand_ins`.

The session sleeps a given time a batch with Python's lock released, as a GPU would; tiles, decoding and masks are real. Each
side is timed alone: the session on windows in memory, the codec in as many threads as there are cores. A plain serial loop
stands beside, which must stay below the bound.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dlcv.benchmarks.timing import MIN_PAIRS, quartiles_of, seconds_of
from dlcv.runtime.cli.common import Command
from dlcv.runtime.machine import cpu_count, cpu_name, idle_seconds
from dlcv.runtime.tables import markdown_table

if TYPE_CHECKING:
    from dlcv.runtime.sessions import Session

CASES = {"session slower": (256, 1, 5.0), "codec slower": (512, 8, 5.0)}
"""Name -> side of the tiles in pixels, batch, milliseconds that a batch sleeps."""


@click.command("stand_ins", cls=Command)
@click.option(
    "--tiles", type=click.Path(path_type=Path), default=None, help="Folder of tiles.  [default: generated scenes]"
)
@click.option("--count", type=click.IntRange(1), default=300, show_default=True)
@click.option("--rounds", type=click.IntRange(3), default=MIN_PAIRS, show_default=True)
@click.option("--only", type=click.Choice(list(CASES)), default=None, help="One of the two.  [default: both]")
def main(tiles: Path | None, count: int, rounds: int, only: str | None) -> None:
    """Print what was reached of the slower side, as a Markdown table."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, (side, batch, sleep_ms) in CASES.items():
            if only not in (None, name):
                continue
            from dlcv.benchmarks.pipeline.scenes import tile_paths

            paths = tile_paths(tiles, Path(scratch) / name, count, side)
            rows.append(
                [
                    f"{name}: {side} x {side}, batch {batch}, {sleep_ms:g} ms",
                    *_reached(paths, side, batch, sleep_ms, rounds),
                ]
            )
    header = ["", "slower side", "dlcv-infer's pipeline reached", "serial loop reached", "other programs"]
    click.echo(markdown_table(header, rows))
    click.echo(
        f"\nMedians (quartiles) of {rounds} rounds in turn in one process, {count} tiles, {cpu_count()} cores of {cpu_name()}. "
        "Other programs: their share of the cores while the pipeline ran, from the system's idle time."
    )


def _reached(paths: list[Path], side: int, batch: int, sleep_ms: float, rounds: int) -> list[str]:
    with tempfile.TemporaryDirectory() as scratch:
        ways = ways_of(paths, Path(scratch), side, batch, sleep_ms)
        times: dict[str, list[float]] = {name: [] for name in ways}
        others = []
        for round_number in range(rounds + 1):
            for name, way in ways.items():
                cpu, idle = time.process_time(), idle_seconds()
                seconds = seconds_of(way)
                if round_number:  # the first round warms up
                    times[name].append(seconds)
                    if name == "pipeline" and idle is not None:
                        cores_s = seconds * cpu_count()
                        used = time.process_time() - cpu + (idle_seconds() or 0.0) - idle
                        others.append(max(0.0, 1 - used / cores_s))
    slower = [max(pair) for pair in zip(times["session"], times["codec"])]
    which = "session" if statistics.median(times["session"]) > statistics.median(times["codec"]) else "codec"
    shares = [f"{statistics.median(others):.0%}" if others else "unknown"]
    return [
        which,
        *(quartiles_of([a / b for a, b in zip(slower, times[name])], 3) for name in ("pipeline", "serial")),
        *shares,
    ]


def ways_of(paths: list[Path], folder: Path, side: int, batch: int, sleep_ms: float) -> dict[str, Callable[[], object]]:
    """The four ways, to be called in turn: pipeline, session, codec, serial."""
    import numpy as np

    from dlcv.runtime.masks import write_mask
    from dlcv.runtime.pipeline.pipeline import Pipeline
    from dlcv.runtime.pipeline.settings import PipelineSettings
    from dlcv.runtime.tiles.decode import decode_file

    session, palette = sleeping_session(side, sleep_ms), [(0, 0, 0)] * 8
    windows = np.zeros((batch, side, side, 3), np.uint8)
    settings = PipelineSettings(batch, decoders=cpu_count(), writers=cpu_count())

    def write(path: Path, mask: Any) -> None:
        write_mask(folder / f"{path.name}.png", mask, palette)

    def pipeline() -> None:
        Pipeline(session, decode_file, write, settings).run(paths, lambda outcome: None)

    def session_alone() -> None:
        for start in range(0, len(paths), batch):
            session.run(windows[: len(paths) - start])

    def codec_alone() -> None:
        with ThreadPoolExecutor(cpu_count()) as pool:
            list(pool.map(lambda path: write(path, mask_of(decode_file(path))), paths))

    def serial() -> None:
        for start in range(0, len(paths), batch):
            images = np.stack([decode_file(path) for path in paths[start : start + batch]])
            for path, mask in zip(paths[start:], session.run(images)["mask"]):
                write(path, mask)

    return {"pipeline": pipeline, "session": session_alone, "codec": codec_alone, "serial": serial}


def mask_of(images: Any) -> Any:
    """uint8 (..., H, W, 3) -> uint8 (..., H, W): eight levels of the red channel in blocks, about as rough as a predicted mask."""
    return images[..., ::16, ::16, 0].repeat(16, -1).repeat(16, -2) >> 5


def sleeping_session(side: int, sleep_ms: float) -> Session:
    """A session whose batches take `sleep_ms`, whatever they hold; its masks are `mask_of`."""
    from dlcv.runtime.card.card import ModelCard
    from dlcv.runtime.sessions import Session

    class Sleeping(Session):
        description, device = "a stand-in that sleeps", "cpu"

        def __init__(self) -> None:
            self.card = ModelCard(
                model="sleeping", task="segmentation", classes=tuple("abcdefgh"), palette=((0, 0, 0),) * 8,
                input_size_hw=(side, side), mean_rgb=(0.0, 0.0, 0.0), std_rgb=(1.0, 1.0, 1.0), head="mask",
            )  # fmt: skip

        def _run(self, images: Any) -> dict[str, Any]:
            start = time.perf_counter()
            masks = mask_of(images)
            time.sleep(max(0.0, sleep_ms / 1000 - (time.perf_counter() - start)))
            return {"mask": masks}

    return Sleeping()


if __name__ == "__main__":
    main()
