"""The gates that run engines: file to file, a session beside its bare library, int8 beside float32."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcv.benchmarks.bench.measure import Effort, interleaved
from dlcv.benchmarks.bench.result import FILES, HOST
from dlcv.benchmarks.suite.gates import Gate, Pairs
from dlcv.benchmarks.timing import seconds_of
from dlcv.runtime.errors import EngineError

if TYPE_CHECKING:
    from dlcv.benchmarks.file_to_file import Round

BOUND_AT_MOST = 1.6
SERIAL_AT_MOST = 1.0
SESSION_AT_MOST = 1.25
INT8_AT_MOST = {"onnxruntime": 1.15, "openvino": 0.8}
"""By library: ONNX Runtime's int8 is little quicker than its float32, 0.82 to 0.91, and is held to be no slower; OpenVINO's far quicker."""
TILES, TILE_SIDE, INPUT_SIDE = 16, 512, 224
WIDTH = 0.05
INT8_WIDTH, CALLS = 0.25, 4
"""For int8: wide enough that convolutions take most of a call; and calls for a sample, since one is a few milliseconds."""
WARM_UP_S, PAUSE_S = 0.3, 0.01
"""Of sessions; in the pause the threads of the other library, which spin for a while after a call, come to rest."""
NAMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
INT8_FLAGS = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
"""What multiplies int8 quicker than float32; without any, int8 is not held to be quicker."""


class Engines:
    """What the gates run, made when first asked for and removed at the end of `with`."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Engines:
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self.rounds = cache(self._rounds)
        self.session = cache(self._session)
        self.graph = cache(self._graph)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _rounds(self, rounds: int) -> dict[str, list[Round]]:
        """Two gates are ratios of the same rounds."""
        from dlcv.benchmarks.file_to_file import measured_rounds, ways_of
        from dlcv.benchmarks.pipeline.scenes import tile_paths

        folder = self.folder / f"rounds-{rounds}"
        paths = tile_paths(None, folder / "tiles", TILES, TILE_SIDE)
        return measured_rounds(ways_of(paths, self.graph("fp32", WIDTH), folder), rounds)

    def _graph(self, precision: str, width: float) -> Path:
        from dlcv.benchmarks.untrained import untrained

        return untrained(self.folder / f"fcn8s-{width}-{precision}.onnx", width, INPUT_SIDE, int8=precision == "int8")

    def _session(self, precision: str, library: str, lanes: int = 1) -> Any:
        from dlcv.runtime.sessions import open_session

        session = open_session(self.graph(precision, INT8_WIDTH), device="cpu", session=library, lanes=lanes)
        return self._stack.enter_context(session)

    def bare(self) -> Callable[[Any], object]:
        """ONNX Runtime's own call on the graph in float32."""
        from dlcv.benchmarks.bench.baselines import Work, bare_onnxruntime
        from dlcv.runtime.card_reader import read_card

        path = self.graph("fp32", INT8_WIDTH)
        work = Work(path, None, read_card(path), "onnxruntime", "cpu", "card", "fp32")
        return bare_onnxruntime(work, self._stack).run

    def image(self) -> Any:
        """uint8 (1, INPUT_SIDE, INPUT_SIDE, 3), RGB: a generated scene."""
        from dlcv.train.data.scenes import make_scene

        return make_scene(0, 0, INPUT_SIDE)[0][None]


def engine_gates(engines: Engines) -> list[Gate]:
    """File to file, session, int8 of each library."""
    from dlcv.benchmarks.bench.baselines import BARE
    from dlcv.benchmarks.file_to_file import SERIAL

    ours = "dlcv-infer"
    return [
        Gate("file-to-file", ours, "the CPU work of codec and session on all cores", BOUND_AT_MOST, FILES, lambda n: _over_bound(engines, n)),
        Gate("serial", ours, f"a {SERIAL}", SERIAL_AT_MOST, FILES, lambda n: _over_serial(engines, n)),
        Gate("session", "session.run", BARE["onnxruntime"], SESSION_AT_MOST, HOST, lambda n: _over_bare(engines, n)),
        *(_int8(engines, library) for library in NAMES),
    ]  # fmt: skip


def _over_bound(engines: Engines, pairs: int) -> Pairs:
    from dlcv.benchmarks.file_to_file import bound_s, open_s

    rounds = engines.rounds(pairs)
    return Pairs(tuple(open_s(rounds)), tuple(bound_s(rounds)))


def _over_serial(engines: Engines, pairs: int) -> Pairs:
    from dlcv.benchmarks.file_to_file import OPENING, OURS, SERIAL

    rounds = engines.rounds(pairs)
    once_open = (
        ours.wall_s - opening.wall_s for ours, opening in zip(rounds[OURS], rounds[OPENING])
    )  # as the loop's is
    return Pairs(tuple(once_open), tuple(one.wall_s for one in rounds[SERIAL]))


def _over_bare(engines: Engines, pairs: int) -> Pairs:
    session, bare, image = engines.session("fp32", "onnxruntime"), engines.bare(), engines.image()
    return _calls(lambda: session.run(image), lambda: bare(image), pairs)


def _int8(engines: Engines, library: str) -> Gate:
    name, at_most = NAMES[library], INT8_AT_MOST[library]

    def measure(pairs: int) -> Pairs:
        from dlcv.runtime.machine import cpu_count

        lanes = cpu_count()  # so that a call runs in one thread, which does not wait for another on a busy machine
        int8, fp32 = (engines.session(precision, library, lanes) for precision in ("int8", "fp32"))
        image = engines.image()
        return _calls(lambda: int8.run(image), lambda: fp32.run(image), pairs)

    return Gate(f"int8-{library}", f"int8 in {name}", f"float32 in {name}", at_most, HOST, measure, _no_int8(library))


def _calls(ours: Callable[[], object], other: Callable[[], object], pairs: int) -> Pairs:
    def several(call: Callable[[], object]) -> Callable[[], float]:
        return lambda: sum(seconds_of(call) for _ in range(CALLS))

    ways = {"ours": several(ours), "other": several(other)}
    effort = Effort(rounds=pairs, pairs=pairs, warm_up_s=WARM_UP_S, pause_s=PAUSE_S)
    measured = interleaved(ways, effort, must="ours")
    if measured.missing:
        raise EngineError(f"what the gate stands beside cannot be run: {measured.missing['other']}")
    lanes = measured.lanes
    found = {name: tuple(value / 1000 for value in lanes[name].samples_ms) for name in ways}
    return Pairs(found["ours"], found["other"])


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
