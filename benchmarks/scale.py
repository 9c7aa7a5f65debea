"""Tiles per second of machines that are not there, from measured times of a stage: `python -m dlcv.benchmarks.scale`.

A bound, by the operational laws (Denning and Buzen, "The Operational Analysis of Queueing Network Models", ACM Computing
Surveys 1978): a station that works D seconds a tile with m servers passes at most m / D tiles a second, and the whole no more
than its slowest station. With N tiles in flight it is no more than N / (sum of D), either. A link or a disk is a station too:
bytes a tile over its bytes a second (as in the roofline model of Williams, Waterman and Patterson, CACM 2009). Queues that run
empty by chance, memory bandwidth that stages share, and a disk that slows down under many readers are not in it: a machine
reaches less.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import click

from dlcv.runtime.cli.common import Command, Finite, note
from dlcv.runtime.tables import markdown_table


@dataclass(frozen=True)
class Station:
    """What a tile passes: `demand_s` seconds of one of `servers`."""

    name: str
    demand_s: float
    servers: float

    @property
    def per_second(self) -> float:
        """Tiles a second when it is never idle (the utilisation law at a utilisation of 1)."""
        return float("inf") if self.demand_s == 0 else self.servers / self.demand_s


@dataclass(frozen=True)
class Bound:
    """Tiles a second at most, and the station that sets it."""

    per_second: float
    by: str


def bound_of(stations: Sequence[Station], in_flight: int | None = None) -> Bound:
    """The asymptotic bounds of Denning and Buzen: the slowest station, and `in_flight` tiles over the time of a lone one."""
    slowest = min(stations, key=lambda one: one.per_second)
    alone_s = sum(one.demand_s for one in stations)
    if in_flight is not None and alone_s > 0 and in_flight / alone_s < slowest.per_second:
        return Bound(in_flight / alone_s, f"{in_flight} tiles in flight")
    return Bound(slowest.per_second, slowest.name)


@dataclass(frozen=True)
class Measured:
    """What was measured here, a tile.

    Attributes:
        cpu_s: seconds of CPU by stage: `codec`, `session`, `pipeline`.
        read_bytes, written_bytes: of a tile's file and its answer.
        session_s: seconds on the clock of a batch on the device, over its images; None: the session runs on the CPU's cores.
    """

    cpu_s: Mapping[str, float]
    read_bytes: float
    written_bytes: float
    session_s: float | None = None


def stations_of(
    measured: Measured,
    *,
    cores: float,
    gpus: float = 0,
    disk_mb_s: float = float("inf"),
    link_mb_s: float = float("inf"),
) -> list[Station]:
    """The stations of a machine.

    Args:
        measured: on one machine; another's cores are taken to be as quick.
        cores: of the CPU, which all stages share.
        gpus: that run the session, where `session_s` is known.
        disk_mb_s: what is read and written, together, in MB (1e6 bytes) a second.
        link_mb_s: likewise of the network that tiles come in and answers go out by.
    """
    on_cpu = (
        measured.cpu_s if measured.session_s is None else {k: v for k, v in measured.cpu_s.items() if k != "session"}
    )
    moved = (measured.read_bytes + measured.written_bytes) / 1e6
    stations = [
        Station("cores", sum(on_cpu.values()), cores),
        Station("disk", moved / disk_mb_s, 1),
        Station("link", moved / link_mb_s, 1),
    ]
    if measured.session_s is not None:
        stations.append(Station("GPUs", measured.session_s, gpus))
    return stations


def measure(paths: Sequence[Path], engine: Path, folder: Path) -> Measured:
    """What a tile costs of a core, in a process that has one: on several at once the same work takes more CPU time."""
    listed = folder / "list-costs"
    listed.write_text("\n".join(map(str, paths)))
    code = "from dlcv.benchmarks.scale import tell_costs; tell_costs()"
    command = [sys.executable, "-c", code, "0", str(engine), str(listed)]
    found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return Measured(found["cpu_s"], sum(path.stat().st_size for path in paths) / len(paths), found["written"])


def tell_costs() -> None:
    """What the process of `measure` does: codec and session, each alone, as `file_to_file` has them, and what our own Python adds."""
    engine, listed = _on_one_core()
    from dlcv.benchmarks.file_to_file import CODEC, SESSION, measured_rounds, ways_of

    folder, paths = listed.parent, [Path(line) for line in listed.read_text().split("\n")]
    ways = ways_of(paths, engine, folder)
    rounds = measured_rounds({name: ways[name] for name in (CODEC, SESSION)}, 5)
    codec, session = (sorted(one.cpu_s for one in rounds[name])[2] / len(paths) for name in (CODEC, SESSION))
    costs = {"codec": codec, "session": session, "pipeline": pipeline_s(folder / "small")}
    print(
        json.dumps(
            {"cpu_s": costs, "written": sum(mask.stat().st_size for mask in (folder / "codec").iterdir()) / len(paths)}
        )
    )


def _on_one_core() -> tuple[Path, Path]:
    """From a process's arguments: takes its core, before any library counts them; gives the engine and the list of tiles."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[int(sys.argv[1])]})
    return Path(sys.argv[2]), Path(sys.argv[3])


def pipeline_s(folder: Path, tiles: int = 120, few: int = 20, rounds: int = 5) -> float:
    """CPU seconds a tile of what dlcv-infer does beside codec and session: its queues, its manifest, its files.

    Of runs over small tiles through a session that does next to nothing: many tiles less a few, so that opening is not in it, less
    the codec's share. `rounds` times in turn, the median.
    """
    import numpy as np

    from dlcv.benchmarks.pipeline.scenes import tile_paths
    from dlcv.benchmarks.suite.cpu import SMALL_SIDE, cpu_seconds_of
    from dlcv.benchmarks.untrained import largest_channel
    from dlcv.runtime.outputs.masks import encode_mask
    from dlcv.runtime.run.inference import InferSettings, infer
    from dlcv.runtime.tiles.decode import decode_file

    paths = tile_paths(None, folder / "tiles", tiles, SMALL_SIDE)
    engine = largest_channel(folder / "largest-channel.onnx", SMALL_SIDE)
    runs = [
        InferSettings.of(
            sources=tuple(map(str, some)),
            engine=engine,
            output=folder / "masks",
            overwrite=True,
            quiet=True,
            device="cpu",
        )
        for some in (paths, paths[:few])
    ]
    mask = np.zeros((SMALL_SIDE, SMALL_SIDE), np.uint8)

    def codec() -> None:
        for path in paths[few:]:
            decode_file(path)
            encode_mask(mask, [(0, 0, 0)] * 7)

    found = []
    for _ in range(rounds + 1):
        many_s, few_s = (cpu_seconds_of(lambda settings=settings: infer(settings)) for settings in runs)  # type: ignore[misc]
        found.append((many_s - few_s - cpu_seconds_of(codec)) / (tiles - few))
    return max(0.0, median(found[1:]))


@dataclass(frozen=True)
class Run:
    """Processes at once, a core each: tiles a second of all together, and what other programs had of their cores, 0..1."""

    per_second: float
    others: float


def run_processes(paths: Sequence[Path], engine: Path, folder: Path, processes: int) -> Run:
    """Runs dlcv-infer's pipeline in processes at once, each on a core of its own and over its share of the tiles.

    Opening the engine is not counted: it takes as long for a few tiles as for many.
    """
    started = []
    for number in range(processes):
        listed = folder / f"list-{processes}-{number}"
        listed.write_text("\n".join(map(str, paths[number::processes])))
        code = "from dlcv.benchmarks.scale import work; work()"
        command = [sys.executable, "-c", code, str(number), str(engine), str(listed)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    for process in started:
        assert process.stdout is not None
        process.stdout.readline()  # it is warm
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    found = [json.loads(process.communicate()[0]) for process in started]
    return Run(sum(one["tiles"] / one["seconds"] for one in found), sum(one["others"] for one in found) / len(found))


def work() -> None:
    """What a process of `run_processes` does."""
    engine, listed = _on_one_core()
    from dlcv.benchmarks.file_to_file import Round
    from dlcv.runtime.run.inference import InferSettings, infer

    paths, output = tuple(listed.read_text().split("\n")), Path(f"{listed}-masks")
    settings = [
        InferSettings.of(
            sources=some, engine=engine, output=output, overwrite=True, quiet=True, device="cpu", fit="resize"
        )
        for some in (paths[:2], paths)
    ]
    infer(settings[0])
    print("ready", flush=True)
    sys.stdin.readline()
    measured = Round.of(lambda: infer(settings[1]))
    seconds = json.loads((output / "summary.json").read_text())["seconds"]
    print(json.dumps({"tiles": len(paths), "seconds": seconds, "others": measured.others}))


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
    from dlcv.runtime.machine import cpu_count, cpu_name

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


def stations_on_paper(measured: Measured, number: int, cores: int, disk: float, link: float) -> list[Station]:
    """Of one machine with `number` GPUs where the session runs on these, else of so many machines, each with its own disk and link."""
    if measured.session_s is not None:
        return stations_of(measured, cores=cores, gpus=number, disk_mb_s=disk, link_mb_s=link)
    return stations_of(measured, cores=cores * number, disk_mb_s=disk * number, link_mb_s=link * number)


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
