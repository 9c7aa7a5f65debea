"""File to file beside its bounds on this machine: the device alone, the session alone, and the codec alone on all cores, in turn.

What runs is `dlcv-infer`'s own pipeline, over as many tiles as make some seconds of work at the slower bound's rate, so that filling and
draining do not count. Engines: the fp16 graph, and the plans that were built here where this Python has TensorRT; `plan_files`: plans alone.
"""

from __future__ import annotations

import itertools
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcv.benchmarks.gpu_suite.part import FOLDER, left_s, require_gpu, run_part, say, write_facts
from dlcv.runtime.errors import DlcvError, EngineError

if TYPE_CHECKING:
    from dlcv.runtime.sessions import Session

ENGINES = {"plan": ("fp16.plan", "int8.plan", "fp32.plan"), "any": ("fp16.onnx", "fp16.plan", "int8.plan")}
"""In order of worth."""
BATCHES = (16, 64)
WORK_S, PROBE_S = 3.0, 0.5
"""Of a run at the slower bound's rate; and of a first look at a rate."""
ROUNDS = 3
ARGUMENTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("model", {"help": "such as fcn8s"}),
    ("--budget", {"type": float, "default": 40.0, "help": "seconds; no engine and no batch begins after them"}),
)
LEAST, MOST = 64, 20000
"""Tiles."""


def main() -> None:
    """See the module."""
    run_part("files", lambda given: on_the_gpu(given, "any"), *ARGUMENTS)


def on_the_gpu(given: Any, kind: str) -> dict[str, Any]:
    """`measure`, once there is a GPU."""
    require_gpu()
    return measure(given.model, kind, given.budget)


def measure(model: str, kind: str = "any", budget_s: float = 40.0, device: str = "cuda") -> dict[str, Any]:
    """Rates and ratios of each engine and batch; facts are kept after each.

    Args:
        model: whose graphs and plans lie in `FOLDER`.
        kind: of `ENGINES`.
        budget_s: no engine and no batch begins after them.
        device: of the sessions.

    Raises:
        DlcvError: where nothing could be measured.
    """
    import numpy as np

    reference = FOLDER / f"{model}.reference.npz"
    engines = [path for name in ENGINES[kind] if (path := FOLDER / f"{model}-{name}").exists() and _runs(path)]
    if not engines or not reference.exists():
        wanted = f"python -m dlcv.benchmarks.gpu_suite.{'plans' if kind == 'plan' else 'graphs'} {model}"
        raise EngineError(f"no engine of {model} that this Python runs is in {FOLDER}; write it with: {wanted}")
    with np.load(reference) as kept:
        images = kept["images"]
    left = left_s(budget_s)
    found: dict[str, Any] = {"cases": [], "files": [], "left out": {}, "cut": []}
    errors: list[DlcvError] = []
    with tempfile.TemporaryDirectory() as scratch:
        for engine in engines:
            for batch in BATCHES:
                if found["files"] and left() <= 0:
                    found["cut"].append(f"{engine.name} at batch {batch}, since {budget_s:.0f} s were over")
                    continue
                try:
                    case = _case(engine, batch, images, Path(scratch), device, left)
                except DlcvError as error:
                    errors.append(error)
                    found["left out"][f"{engine.name} at batch {batch}"] = str(error)
                    say(f"{engine.name} at batch {batch} is left out: {error}")
                    continue
                _add(found, case)
                write_facts(f"{'plan-' if kind == 'plan' else ''}files-{model}", found)
    if not found["files"]:
        raise errors[0]
    return found


def _add(found: dict[str, Any], case: dict[str, Any]) -> None:
    rates = {"host-to-host": case["session"], "file-to-file": case["file_to_file"]}
    if case["device"]:
        rates["device"] = case["device"]
    found["files"].append(case)
    found["cases"].append(
        {name: case[name] for name in ("engine", "session_of", "computes", "batch")}
        | {"session": case["session_of"], "images_per_s": rates, "of_matrix_rate": None}
    )
    say(
        f"{case['engine']} at batch {case['batch']}, {case['tiles']} tiles: file to file {case['file_to_file']:.0f}/s, session alone "
        f"{case['session']:.0f}/s, device alone {case['device']:.0f}/s, codec alone on {case['cores']} cores {case['codec']:.0f}/s; "
        f"{case['of_slower']:.3f} of the slower of device and codec, {case['of_session']:.3f} of the slower of session and codec"
    )


def _runs(engine: Path) -> bool:
    if engine.suffix == ".onnx":
        return find_spec("onnxruntime") is not None
    return find_spec("tensorrt") is not None and find_spec("pycuda") is not None


def _case(engine: Path, batch: int, images: Any, scratch: Path, device: str, left: Callable[[], float]) -> dict[str, Any]:  # fmt: skip
    import numpy as np

    from dlcv.benchmarks.bench.files import InferPipeline, infer_settings
    from dlcv.runtime.machine import cpu_count
    from dlcv.runtime.sessions import open_session

    library = "auto" if engine.suffix == ".plan" else "onnxruntime"
    with open_session(engine, device=device, session=library) as session:
        if session.max_batch is not None and session.max_batch < batch:
            raise EngineError(f"it takes batches of at most {session.max_batch}")
        windows = np.resize(images, (batch, *images.shape[1:]))
        few = _tiles(images, scratch / "few", 2 * cpu_count())
        answer = session.run(images)[session.card.head]
        codec_rate = _rate(lambda count: _codec(few, count, session.card, answer, scratch / "masks"), 2 * cpu_count())
        session_rate = _rate(lambda count: _session(session, windows, count), 2 * batch)
        device_rate = _device_rate(engine, windows, device)
        slower = min(codec_rate, session_rate)
        count = max(LEAST, 4 * batch, min(MOST, int(WORK_S * slower)))
        paths = _tiles(images, scratch / f"tiles-{count}", count)
        rounds: list[tuple[float, float]] = []
        for _ in range(ROUNDS):
            if rounds and left() <= 0:
                break
            codec_s = _codec(paths, count, session.card, answer, scratch / "masks")
            rounds.append((codec_s / count, _session(session, windows, count) / count))
        facts = {
            "engine": engine.name, "session_of": "tensorrt" if engine.suffix == ".plan" else library, "computes": session.computes,
            "description": session.description, "batch": batch, "tiles": count, "cores": cpu_count(),
        }  # fmt: skip
    settings = infer_settings(paths, engine, scratch / "out", batch, device=device, session=library)
    pipeline = InferPipeline(settings, count)
    ours = []
    for _ in rounds:  # its own session is open then, and no other one beside it
        shutil.rmtree(scratch / "out", ignore_errors=True)
        ours.append(pipeline())
    shutil.rmtree(scratch / f"tiles-{count}")
    codec, alone = (statistics.median(one) for one in zip(*rounds))
    mine = statistics.median(ours)
    device_s = 1 / device_rate if device_rate else alone
    return facts | {
        "codec": 1 / codec, "session": 1 / alone, "device": device_rate, "file_to_file": 1 / mine, "stages_ms": pipeline.stages_ms(),
        "of_slower": max(device_s, codec) / mine, "of_session": max(alone, codec) / mine, "rounds": [[*one, other] for one, other in zip(rounds, ours)],
    }  # fmt: skip


def _rate(seconds_of: Callable[[int], float], count: int) -> float:
    """Tiles a second, from runs that become longer until one lasts `PROBE_S`."""
    seconds_of(count)
    while (seconds := seconds_of(count)) < PROBE_S and count < MOST:
        count = min(MOST, max(2 * count, int(count * PROBE_S / max(seconds, 1e-4))))
    return count / seconds


def _tiles(images: Any, folder: Path, count: int) -> list[Path]:
    """JPEGs of the images in turn, a file each."""
    import cv2

    folder.mkdir(parents=True, exist_ok=True)
    data = [cv2.imencode(".jpg", image[..., ::-1])[1].tobytes() for image in images]
    paths = [folder / f"tile{number:06d}.jpg" for number in range(count)]
    for path, one in zip(paths, itertools.cycle(data)):
        path.write_bytes(one)
    return paths


def _codec(paths: list[Path], count: int, card: Any, answer: Any, folder: Path) -> float:
    """Seconds in which all cores read `count` tiles and write as many masks."""
    import numpy as np

    from dlcv.runtime.machine import cpu_count
    from dlcv.runtime.masks import write_mask
    from dlcv.runtime.tiles.decode import decode_file

    folder.mkdir(parents=True, exist_ok=True)
    masks = [np.ascontiguousarray(mask) for mask in answer] if card.task == "segmentation" else []

    def one(number: int) -> None:
        decode_file(paths[number % len(paths)])
        if masks:
            write_mask(folder / f"{number}.png", masks[number % len(masks)], card.palette)

    with ThreadPoolExecutor(cpu_count()) as pool:
        start = time.perf_counter()
        for _ in pool.map(one, range(count)):
            pass
        return time.perf_counter() - start


def _session(session: Session, windows: Any, count: int) -> float:
    """Seconds in which the session, with as many batches in flight as it takes, runs `count` windows that lie in memory."""
    calls = -(-count // len(windows))
    with ThreadPoolExecutor(session.parallel) as pool:
        start = time.perf_counter()
        for _ in pool.map(lambda _: session.run(windows), range(calls)):
            pass
        return (time.perf_counter() - start) * count / (calls * len(windows))


def _device_rate(engine: Path, windows: Any, device: str) -> float:
    """Images a second between two CUDA events; 0 where that cannot be told."""
    if device != "cuda":
        return 0.0
    try:
        with ExitStack() as stack:
            seconds = stack.enter_context(_on_device(engine))
            found = [seconds(windows) for _ in range(13)][3:]
    except DlcvError as error:
        say(f"no device time of {engine.name}: {error}")
        return 0.0
    return len(windows) / statistics.median(found)


@contextmanager
def _on_device(engine: Path) -> Iterator[Callable[[Any], float]]:
    if engine.suffix == ".plan":
        from dlcv.benchmarks.bench.bare_tensorrt import TensorrtLoop

        with TensorrtLoop(engine) as loop:
            yield loop.device_seconds
        return
    from dlcv.benchmarks.bench.cuda_events import OnnxOnDevice

    with OnnxOnDevice(str(engine), {"use_tf32": "0"}) as graph:
        yield graph.seconds


if __name__ == "__main__":
    main()
