"""Results made up for tests: a case with lanes of given times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlcv.benchmarks.bench.result import FILES, HOST, Case, Engine, InFlight, Lane, Result, Roofline, Timing, WarmUp

MACHINE: dict[str, Any] = {
    "cpu": "A CPU", "cores": 2, "gpu": "", "system": "Linux x86_64", "versions": {"onnxruntime": "1.0"}, "started": "today",
}  # fmt: skip
BARE = "bare ONNX Runtime"


def result_of(
    lanes: Mapping[str, Sequence[float]], *, batch: int = 1, name: str = "fcn8s.onnx", environment: Mapping[str, Any] = MACHINE
) -> Result:  # fmt: skip
    """A result with one case, whose host-to-host times are `lanes`, in milliseconds."""
    return Result(environment, {}, (case_of(lanes, batch=batch, name=name),))


def case_of(
    lanes: Mapping[str, Sequence[float]], *, batch: int = 1, name: str = "fcn8s.onnx", whole: bool = False
) -> Case:
    """A case; `whole`: with all that a case can hold."""
    engine = Engine(name, "fcn8s", "segmentation", "fp32", "mask", (64, 64), "ab" * 32, 1_000_000)
    timing = Timing({way: Lane(tuple(times), WarmUp(7, 0.5, True, 12.5)) for way, times in lanes.items()})
    if not whole:
        return Case(engine, "cpu", "onnxruntime", "fp32", batch, "ONNX Runtime 1.0 on CPU, in fp32", {HOST: timing})
    files = Timing(timing.lanes, {"torch.compile": "no C++ compiler <was> found | here"})
    return Case(
        engine, "cpu", "onnxruntime", "fp32", batch, "ONNX Runtime 1.0 on CPU, in fp32", {HOST: timing, FILES: files},
        {"decode": 1.5, "session": 8.25, "write": 0.5}, {"dlcv": (100.0, 101.5), BARE: (90.0, 91.0)}, (),
        {"power_w_median": 300.0, "power_w_min": 200.0, "power_w_max": 350.0}, Roofline(5e10, 1e11, HOST, 0.5, 0.45, 0.55, 15), {"device": "a CPU"},
        tuple(InFlight(count, (90.0 + count, 100.0 + count), (10.0 * count,) * 40) for count in (1, 2)),
    )  # fmt: skip
