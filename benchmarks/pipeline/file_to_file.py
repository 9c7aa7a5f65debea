"""`dlcv-infer`'s pipeline beside a plain serial loop and the bare session: `python -m dlcv.benchmarks.pipeline.file_to_file`.

All in one process, in turn, over the same tiles: the pipeline (files to masks on disk), opening its session, a serial loop as one would write
it (cv2.imread, one session on all cores, cv2.imwrite), the session alone on batches that are in memory, of dlcv-infer's size and as many at a
time, decoding and writing alone in one thread, and a loop in a thread a core: each reads, asks and writes a batch after the other, with our own
codec and session and nothing between. It tells what the cores do when all are at work: they share caches and memory, and may share units of computation, so
that the same work takes more CPU time there. Tiles of another size than the engine's are resized, which keeps the session small beside the codec.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from dlcv.benchmarks.pipeline.scenes import tile_paths
from dlcv.benchmarks.timing import MIN_PAIRS, quartiles_of, seconds_of
from dlcv.benchmarks.untrained import untrained
from dlcv.runtime.cli.common import Command, note
from dlcv.runtime.machine import cpu_count, cpu_name, idle_seconds
from dlcv.runtime.tables import markdown_table

OURS, SERIAL = "dlcv-infer", "plain serial loop"
SESSION, CODEC = "session alone, tiles in memory", "codec alone, one thread"
EACH = "loop in a thread a core"
OPENING = "opening dlcv-infer's session"


@click.command("file_to_file", cls=Command)
@click.option(
    "--engine", type=click.Path(path_type=Path), default=None, help="An .onnx.  [default: an untrained narrow fcn8s]"
)
@click.option("--width", type=float, default=0.05, show_default=True, help="Of the untrained model.")
@click.option(
    "--tiles", type=click.Path(path_type=Path), default=None, help="Folder of tiles.  [default: generated scenes]"
)
@click.option("--count", type=click.IntRange(1), default=300, show_default=True)
@click.option("--size", type=click.IntRange(32), default=512, show_default=True, help="Side of generated scenes.")
@click.option("--input-size", type=click.IntRange(32), default=224, show_default=True, help="Of the untrained model.")
@click.option("--int8", is_flag=True, help="The untrained model in int8.")
@click.option("--rounds", type=click.IntRange(3), default=MIN_PAIRS, show_default=True)
def main(
    engine: Path | None,
    width: float,
    tiles: Path | None,
    count: int,
    size: int,
    input_size: int,
    int8: bool,
    rounds: int,
) -> None:
    """Print the comparison as a Markdown table."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        paths = tile_paths(tiles, folder / "tiles", count, size)
        graph = engine or untrained(folder / "fcn8s.onnx", width, input_size, int8=int8)
        note(f"{len(paths)} tiles, {rounds} rounds")
        rounds_of = measured_rounds(ways_of(paths, graph, folder), rounds)
        click.echo(_table(rounds_of, len(paths)))
        codec, session = (statistics.median(one.cpu_s for one in rounds_of[name]) for name in (CODEC, SESSION))
        click.echo(
            f"\nThe codec is {codec / (codec + session):.0%} of the CPU work a tile. With all {cpu_count()} cores at work and nothing "
            f"added, {len(paths) * cpu_count() / (codec + session):.1f} tiles/s were possible."
        )
        click.echo(
            f"\n{len(paths)} tiles, {rounds} rounds in turn in one process, {cpu_count()} cores of {cpu_name()}."
        )


@dataclass(frozen=True)
class Round:
    """One way, once: seconds on the clock, of this process's CPU, and what other programs had of the cores, 0..1."""

    wall_s: float
    cpu_s: float
    others: float

    @classmethod
    def of(cls, way: Callable[[], object]) -> Round:
        cpu, idle = time.process_time(), idle_seconds()
        wall_s = seconds_of(way)
        cpu_s, idle_end = time.process_time() - cpu, idle_seconds()
        if idle is None or idle_end is None:
            return cls(wall_s, cpu_s, 0.0)
        return cls(wall_s, cpu_s, max(0.0, 1 - (cpu_s + idle_end - idle) / (wall_s * cpu_count())))


def measured_rounds(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[Round]]:
    """All ways in turn, `rounds` times, after one round that warms up."""
    found: dict[str, list[Round]] = {name: [] for name in ways}
    for round_number in range(rounds + 1):
        for name, way in ways.items():
            measured = Round.of(way)
            if round_number:
                found[name].append(measured)
    return found


def bound_s(rounds: dict[str, list[Round]]) -> list[float]:
    """Seconds, for each round, that the codec's and the session's CPU work takes with all cores at work and nothing added."""
    return [(codec.cpu_s + session.cpu_s) / cpu_count() for codec, session in zip(rounds[CODEC], rounds[SESSION])]


def open_s(rounds: dict[str, list[Round]]) -> list[float]:
    """Seconds, for each round, that dlcv-infer took once its session was open, of what other programs left of the cores."""
    return [(one.wall_s - opening.wall_s) * (1 - one.others) for one, opening in zip(rounds[OURS], rounds[OPENING])]


def _table(rounds: dict[str, list[Round]], tiles: int) -> str:
    """Each way beside dlcv-infer, and beside that once its session is open, which takes as long for a few tiles as for many; and what was
    reached of the cores: of all, and of those that other programs left.
    """
    work, once_open = bound_s(rounds), open_s(rounds)
    rows = []
    for name, measured in rounds.items():
        row = [name, "" if name == OPENING else f"{tiles / statistics.median(one.wall_s for one in measured):.1f}"]
        row.append(quartiles_of(one.wall_s / ours.wall_s for one, ours in zip(measured, rounds[OURS])))
        if name == OURS:
            row += ["", *_reached(work, measured), quartiles_of(bound / s for bound, s in zip(work, once_open))]
        if name in (SERIAL, EACH):
            row.append(quartiles_of(one.wall_s * (1 - one.others) / s for one, s in zip(measured, once_open)))
            row += _reached(work, measured)
        rows.append([*row, "", "", "", ""][:7])
    header = [
        "",
        "tiles/s",
        "time beside dlcv-infer",
        "beside it once its session is open",
        "reached of all cores",
        "of what others left",
        "that, once the session is open",
    ]
    return markdown_table(header, rows) + "\n\nMedians, with quartiles."


def _reached(work: list[float], measured: list[Round]) -> list[str]:
    return [
        quartiles_of(bound / one.wall_s for bound, one in zip(work, measured)),
        quartiles_of(bound / one.wall_s / (1 - one.others) for bound, one in zip(work, measured)),
    ]


def ways_of(paths: list[Path], graph: Path, folder: Path) -> dict[str, Callable[[], object]]:
    """What is compared, by name; `folder` takes what is written, and has no folders `serial`, `codec` and `each` yet."""
    from dlcv.benchmarks.pipeline.loops import Loops

    loops = Loops(paths, graph, folder)
    return {
        OURS: loops.ours, OPENING: loops.opening, SERIAL: loops.serial, SESSION: loops.session_alone, CODEC: loops.codec_alone,
        EACH: loops.each,
    }  # fmt: skip


if __name__ == "__main__":
    main()
