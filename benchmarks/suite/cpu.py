"""The gates of CPU time: what our code costs a core, beside the same work without it, one thread each.

Waiting is in no CPU time, so other programs change these ratios little, and half as much again is seen: see `plants.py`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from dlcv.benchmarks.bench.result import CPU
from dlcv.benchmarks.suite.gates import Gate, Pairs
from dlcv.benchmarks.timing import pairs_of
from dlcv.runtime.errors import EngineError, reason_of

if TYPE_CHECKING:
    from dlcv.benchmarks.suite.engines import Engines

DECODE_AT_MOST, ENCODE_AT_MOST = 1.15, 0.16
SESSION_AT_MOST, CALL_AT_MOST, TILE_AT_MOST = 1.25, 2.9, 11.0
INT8_AT_MOST = {"onnxruntime": 1.05, "openvino": 0.6}
"""By library: ONNX Runtime's int8 is little quicker than its float32, 0.93 at this width, and is held to be no slower; that it is
quicker is not proven."""
CODEC_TILES, CODEC_SIDE = 8, 512
"""Of a sample of the codec."""
ENCODE_ROUNDS = 8
"""Of these tiles in a sample of `encode`: one takes us 0.7 ms, too short to be steady: see results/suite.md."""
SMALL_TILES, SMALL_SIDE = 60, 64
"""Of a sample of `tile`: so small that pixels cost little beside Python."""
SERIAL_ROUNDS = 4
"""Of the loop beside `tile`, in a pair: one takes 8 ms, a tenth of ours."""
MEMORY = Path("/dev/shm")
"""Files here reach no disk (Linux)."""
NARROW, WIDE = 0.05, 0.25
"""Widths of fcn8s: wide enough for int8 that convolutions take most of a call."""
CALLS, EMPTY_CALLS = 4, 10_000
"""For a sample: of an engine, and of one that does nothing."""
NAMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
INT8_FLAGS = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
"""What multiplies int8 quicker than float32; without any, int8 is not held to be quicker."""


def cpu_gates(engines: Engines) -> list[Gate]:
    """Codec, session, our Python around a call and around a tile, int8 of each library."""
    decode = "`cv2.imread`, BGR to RGB"
    return [
        Gate("decode", "reading a JPEG", decode, DECODE_AT_MOST, CPU, lambda n: _decode(engines, n), _lacks("simplejpeg")),
        Gate("encode", "a mask to a palette PNG", "`cv2.imencode`", ENCODE_AT_MOST, CPU, lambda n: _encode(engines, n), _lacks("isal")),
        Gate("session", "session.run", "ONNX Runtime's own call", SESSION_AT_MOST, CPU, lambda n: _session(engines, n)),
        Gate("call", "session.run of a library that does nothing", "the same in two lines", CALL_AT_MOST, CPU, _call),
        Gate("tile", "dlcv-infer on small tiles, a session of four operators", "a serial loop", TILE_AT_MOST, CPU, lambda n: _tile(engines, n)),
        *(_int8(engines, library) for library in NAMES),
    ]  # fmt: skip


def cpu_pairs(ours: Callable[[], object], other: Callable[[], object], pairs: int) -> Pairs:
    """CPU seconds of this process, its threads included, in turn.

    Raises:
        EngineError: when what ours stands beside cannot be run.
    """
    try:
        other()
    except Exception as error:  # another project's code, which may fail in any way
        raise EngineError(f"what the gate stands beside cannot be run: {reason_of(error)}") from error
    a, b = pairs_of(ours, other, pairs, cpu_seconds_of)
    return Pairs(tuple(a), tuple(b))


def cpu_seconds_of(work: Callable[[], object]) -> float:
    """CPU seconds of one call, in all threads of this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def _lacks(package: str) -> str:
    """The codec is held with the quick libraries that it is meant to have."""
    return "" if find_spec(package) else f"{package} is not installed: pip install 'dlcv-edge[fast]'"


def _decode(engines: Engines, pairs: int) -> Pairs:
    import cv2

    from dlcv.runtime.tiles.decode import Decoder

    paths, decoder = engines.tiles(CODEC_TILES, CODEC_SIDE), Decoder()
    cv2.setNumThreads(1)

    def ours() -> None:
        for path in paths:
            decoder.decode_file(path)

    def other() -> None:
        for path in paths:
            cv2.cvtColor(_read(path), cv2.COLOR_BGR2RGB)

    return cpu_pairs(ours, other, pairs)


def _read(path: Path) -> Any:
    import cv2

    image_bgr = cv2.imread(str(path))
    assert image_bgr is not None, path
    return image_bgr


def _encode(engines: Engines, pairs: int) -> Pairs:
    import cv2

    from dlcv.benchmarks.pipeline.stand_ins import mask_of
    from dlcv.runtime import masks
    from dlcv.runtime.tiles.decode import decode_file

    answers = [mask_of(decode_file(path)) for path in engines.tiles(CODEC_TILES, CODEC_SIDE)]
    palette = [(0, 0, 0)] * 8

    def ours() -> None:
        for mask in answers:
            masks.encode_mask(mask, palette)

    def other() -> None:
        for mask in answers:
            cv2.imencode(".png", mask)

    return cpu_pairs(several(ours, ENCODE_ROUNDS), several(other, ENCODE_ROUNDS), pairs)


def _session(engines: Engines, pairs: int) -> Pairs:
    session, bare, image = engines.session("fp32", "onnxruntime", NARROW), engines.bare(NARROW), engines.image()
    return cpu_pairs(several(lambda: session.run(image), CALLS), several(lambda: bare(image), CALLS), pairs)


def several(call: Callable[[], object], count: int) -> Callable[[], None]:
    """`count` calls as one."""

    def run() -> None:
        for _ in range(count):
            call()

    return run


def _call(pairs: int) -> Pairs:
    """Our Python around a library's call: checks, names, errors in words."""
    import numpy as np

    from dlcv.benchmarks.untrained import untrained_card
    from dlcv.runtime.sessions.onnxrt import OnnxSession

    images, library = np.zeros((1, SMALL_SIDE, SMALL_SIDE, 3), np.uint8), _Nothing()
    card = untrained_card("fcn8s", "segmentation", SMALL_SIDE, head="mask")
    session = OnnxSession(library, card, on="CPU", device="cpu", computes="fp32", parallel=1)
    names = ["mask"]

    def bare() -> dict[str, Any]:
        return dict(zip(names, library.run(names, {"image": np.ascontiguousarray(images)})))

    return cpu_pairs(several(lambda: session.run(images), EMPTY_CALLS), several(bare, EMPTY_CALLS), pairs)


class _Nothing:
    """What a session asks of ONNX Runtime's, without any work."""

    name = "mask"

    def get_outputs(self) -> Sequence[_Nothing]:
        return (self,)

    def run(self, names: Sequence[str], given: dict[str, Any]) -> list[Any]:
        return [None]


def _tile(engines: Engines, pairs: int) -> Pairs:
    """All Python of a tile: pipeline, queues, manifest, files, which both ways write to memory."""
    import cv2

    from dlcv.runtime.run.inference import InferSettings, infer

    paths, engine = engines.tiles(SMALL_TILES, SMALL_SIDE), engines.largest_channel(SMALL_SIDE)
    session = engines.bare_session(engine)
    with folder_in_memory() as folder:
        settings = InferSettings.of(
            sources=tuple(map(str, paths)), engine=engine, output=folder / "ours", overwrite=True, quiet=True, device="cpu",
        )  # fmt: skip
        target = folder / "serial"
        target.mkdir()

        def serial() -> None:
            for path in paths:
                image = cv2.cvtColor(_read(path), cv2.COLOR_BGR2RGB)
                (mask,) = session.run(None, {"image": image[None]})
                cv2.imwrite(str(target / (path.name + ".png")), mask[0])

        infer(
            settings
        )  # OpenVINO counts a process's cores once: from one core alone it would take later gates' sessions for as narrow
        with on_one_core():
            found = cpu_pairs(lambda: infer(settings), several(serial, SERIAL_ROUNDS), pairs)
    return Pairs(found.ours_s, tuple(seconds / SERIAL_ROUNDS for seconds in found.other_s))


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """A temporary folder in memory where the system has such a place.

    A disk's file system takes from this process what it has to tidy up at that moment: a loop that writes over the same 60 small
    files took 13 to 27 ms of CPU there; in memory, medians of 8. Without such a place the ratio is lower, and noisier.
    """
    place = MEMORY if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) else None
    with TemporaryDirectory(dir=place) as folder:
        yield Path(folder)


@contextmanager
def on_one_core() -> Iterator[None]:
    """This thread and those that it starts share a core: handing Python's lock from core to core costs more the more cores are idle."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _int8(engines: Engines, library: str) -> Gate:
    def measure(pairs: int) -> Pairs:
        int8, fp32 = (engines.session(precision, library, WIDE) for precision in ("int8", "fp32"))
        image = engines.image()
        return cpu_pairs(several(lambda: int8.run(image), CALLS), several(lambda: fp32.run(image), CALLS), pairs)

    name = NAMES[library]
    return Gate(
        f"int8-{library}",
        f"int8 in {name}",
        f"float32 in {name}",
        INT8_AT_MOST[library],
        CPU,
        measure,
        _no_int8(library),
    )


def _no_int8(library: str) -> str:
    """Why int8 is not held to be quicker here; empty where it is."""
    if find_spec(library) is None:
        return f"pip install {library}"
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return "this system does not say what its CPU can do"
    if not words & set(INT8_FLAGS):
        return f"this CPU has no instructions for int8 ({', '.join(INT8_FLAGS)})"
    return ""
