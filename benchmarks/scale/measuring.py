"""What a tile costs here, in a process on one core, and what 1 and 2 such processes reach."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from dlcv.benchmarks.scale.stations import Measured


def measure(paths: Sequence[Path], engine: Path, folder: Path) -> Measured:
    """What a tile costs of a core, in a process that has one: on several at once the same work takes more CPU time."""
    listed = folder / "list-costs"
    listed.write_text("\n".join(map(str, paths)))
    code = "from dlcv.benchmarks.scale.measuring import tell_costs; tell_costs()"
    command = [sys.executable, "-c", code, "0", str(engine), str(listed)]
    found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return Measured(found["cpu_s"], sum(path.stat().st_size for path in paths) / len(paths), found["written"])


def tell_costs() -> None:
    """What the process of `measure` does: codec and session, each alone, as `file_to_file` has them, and what our own Python adds."""
    engine, listed = _on_one_core()
    from dlcv.benchmarks.pipeline.file_to_file import CODEC, SESSION, measured_rounds, ways_of

    folder, paths = listed.parent, [Path(line) for line in listed.read_text().split("\n")]
    ways = ways_of(paths, engine, folder)
    rounds = measured_rounds({name: ways[name] for name in (CODEC, SESSION)}, 5)
    codec, session = (sorted(one.cpu_s for one in rounds[name])[2] / len(paths) for name in (CODEC, SESSION))
    costs = {"codec": codec, "session": session, "pipeline": pipeline_s(folder / "small")}
    written = sum(mask.stat().st_size for mask in (folder / "codec").iterdir()) / len(paths)
    print(json.dumps({"cpu_s": costs, "written": written}))


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
    from dlcv.runtime.masks import encode_mask
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
        code = "from dlcv.benchmarks.scale.measuring import work; work()"
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
    from dlcv.benchmarks.pipeline.file_to_file import Round
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
