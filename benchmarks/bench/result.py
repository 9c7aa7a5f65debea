"""What `dlcv-bench` measured, and its JSON: every sample is kept, so that a later run can be compared with it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from dlcv.benchmarks.timing import PairedRatio, ratio_of_pairs
from dlcv.runtime.errors import UsageError

KIND, SCHEMA = "dlcv-bench", 2
DEVICE, HOST, FILES, COLD, FIRST, CPU = "device", "host-to-host", "file-to-file", "cold start", "first call", "CPU time"
KINDS = {
    DEVICE: "the engine alone, with its data on the device, between two CUDA events",
    HOST: "session.run: images in host memory to answers in host memory",
    FILES: "dlcv-infer's pipeline: image files to written answers, without opening the engine",
    COLD: "a new process: from its start to the first answer",
    FIRST: "a new process: the first call of the opened session",
    CPU: "the cores' work, without waiting: the suite of CI alone tells it",
}
"""What is measured, in the order of the tables."""
PER = {DEVICE: "batch", HOST: "batch", FILES: "tile", COLD: "process", FIRST: "batch", CPU: "sample of the gate"}
"""What one sample is of."""
OURS, AGAIN = "dlcv", "dlcv again"
"""Our way, and our way once more, whose ratio is the noise of the measurement."""


@dataclass(frozen=True)
class WarmUp:
    """Calls before the measurement; `stable`: whether the criterion was met, or the time was over."""

    calls: int
    seconds: float
    stable: bool
    first_ms: float


@dataclass(frozen=True)
class Lane:
    """The times of one way, in milliseconds, in the order of the rounds."""

    samples_ms: tuple[float, ...]
    warm_up: WarmUp | None = None


@dataclass(frozen=True)
class Timing:
    """One kind of time of a case: the lanes of a round stand at the same place.

    Attributes:
        lanes: by way, `OURS` first where there is one.
        missing: ways that could not be measured, with the reason.
    """

    lanes: Mapping[str, Lane]
    missing: Mapping[str, str] = field(default_factory=dict)

    def ratio(self, a: str, b: str) -> PairedRatio | None:
        """Way a over way b, pair by pair; None where one is missing or there are fewer than two rounds."""
        if a not in self.lanes or b not in self.lanes or len(self.lanes[a].samples_ms) < 2:
            return None
        return ratio_of_pairs(self.seconds(a), self.seconds(b))

    def seconds(self, way: str) -> list[float]:
        """The samples of a way, in seconds."""
        return [value / 1000 for value in self.lanes[way].samples_ms]

    def baselines(self) -> list[str]:
        """The ways that are not ours."""
        return [name for name in self.lanes if name not in (OURS, AGAIN)]


@dataclass(frozen=True)
class Engine:
    """The engine of a case; `name` tells it from the others of a run."""

    name: str
    model: str
    task: str
    precision: str
    head: str
    input_size_hw: tuple[int, int]
    sha256: str = ""
    multiply_adds: int = 0


@dataclass(frozen=True)
class Roofline:
    """How near an engine comes to a matrix product in the same session.

    Attributes:
        engine_flops: of the engine: two for each multiply-add, over the median time, in operations a second.
        matrix_flops: of the matrix product.
        time: which time it is of: a key of `KINDS`.
        share: the engine's over the product's, pair by pair: the median. Above 1 where a library computes convolutions in fewer
            operations (Winograd).
        share_low, share_high: its quartiles.
        pairs: how many.
    """

    engine_flops: float
    matrix_flops: float
    time: str
    share: float
    share_low: float
    share_high: float
    pairs: int


@dataclass(frozen=True)
class InFlight:
    """Throughput of a session that several threads call at once, each again and again.

    Attributes:
        count: threads, each with a batch in flight.
        images_per_s: of all together, a value a round.
        samples_ms: of each call, in milliseconds.
    """

    count: int
    images_per_s: tuple[float, ...]
    samples_ms: tuple[float, ...]


@dataclass(frozen=True)
class Case:
    """A case with what was measured.

    Attributes:
        engine: see `Engine`.
        device, session, computes: where it ran, by which library, in which precision.
        batch: images a call.
        description: of the session, with versions.
        timings: by kind.
        stages_ms: of file-to-file, for each stage the milliseconds a tile that its threads were at work, the median of the rounds.
        host_peak_mb: resident memory at its peak, of a new process each, by way.
        device_peak_mb: what the device's memory grew by at its peak, likewise; empty where nothing tells.
        gpu: power in W and clocks in MHz while it was measured: `nvml.Readings` as numbers; empty where there is none.
        roofline: None where it could not be told.
        missing: what could not be measured, by its name, with the reason.
        in_flight: throughput by batches in flight; since schema 2.
    """

    engine: Engine
    device: str
    session: str
    computes: str
    batch: int
    description: str
    timings: Mapping[str, Timing] = field(default_factory=dict)
    stages_ms: Mapping[str, float] = field(default_factory=dict)
    host_peak_mb: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    device_peak_mb: tuple[float, ...] = ()
    gpu: Mapping[str, float] = field(default_factory=dict)
    roofline: Roofline | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    in_flight: tuple[InFlight, ...] = ()

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        """What makes two cases of two runs the same."""
        return (self.engine.name, self.device, self.session, self.computes, self.batch)

    @property
    def label(self) -> str:
        """For people and tables, without the batch."""
        return f"{self.engine.name}, {self.session} on {self.device}, in {self.computes}"

    def with_timing(self, kind: str, lanes: Mapping[str, Lane], missing: Mapping[str, str]) -> Case:
        """With one kind of time more."""
        return replace(self, timings={**self.timings, kind: Timing(lanes, missing)})

    def without(self, what: str, why: str) -> Case:
        """With what could not be measured, and the reason."""
        return replace(self, missing={**self.missing, what: why})


@dataclass(frozen=True)
class Result:
    """A run of `dlcv-bench`.

    Attributes:
        environment: see `environment.py`.
        settings: what was asked for.
        cases: that were measured.
        left_out: cases that could not be, by label, with the reason.
    """

    environment: Mapping[str, Any]
    settings: Mapping[str, Any]
    cases: tuple[Case, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)


def to_json(result: Result) -> str:
    """As text; times are kept to a tenth of a microsecond."""
    values: dict[str, Any] = {"kind": KIND, "schema": SCHEMA} | asdict(result)
    for case in values["cases"]:
        for timing in case["timings"].values():
            for lane in timing["lanes"].values():
                lane["samples_ms"] = [round(value, 4) for value in lane["samples_ms"]]
        for level in case["in_flight"]:
            level["samples_ms"] = [round(value, 4) for value in level["samples_ms"]]
    return json.dumps(values, indent=1) + "\n"


def from_json(text: str, source: str) -> Result:
    """The inverse of `to_json`.

    Args:
        text: of the file.
        source: its name, for the errors.

    Raises:
        UsageError: when it is no result of dlcv-bench, or of a newer schema.
    """
    try:
        values = json.loads(text)
        kind, schema = values["kind"], values["schema"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UsageError(f"{source} is no result of dlcv-bench; expected the bench.json that it writes") from error
    if kind != KIND or not isinstance(schema, int):
        raise UsageError(
            f"{source} is no result of dlcv-bench, its kind is {kind!r}; expected the bench.json that it writes"
        )
    if schema > SCHEMA:
        raise UsageError(
            f"{source} has the schema {schema}, and this dlcv-bench reads up to {SCHEMA}; read it with the newer dlcv that wrote it"
        )
    try:
        told = [dict(values[name].items()) for name in ("environment", "settings", "left_out")]
        return Result(told[0], told[1], tuple(_case(case) for case in values["cases"]), told[2])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UsageError(f"{source} is a damaged result of dlcv-bench: {error!r}; measure again") from error


def read_result(path: Path) -> Result:
    """Reads a result; raises as `from_json`, and UsageError when it cannot be read."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return from_json(text, str(path))


def _case(values: dict[str, Any]) -> Case:
    engine = values["engine"] | {"input_size_hw": tuple(values["engine"]["input_size_hw"])}
    roofline = values["roofline"]
    return Case(
        **values | {
            "engine": Engine(**engine),
            "timings": {kind: _timing(timing) for kind, timing in values["timings"].items()},
            "host_peak_mb": {way: tuple(peaks) for way, peaks in values["host_peak_mb"].items()},
            "device_peak_mb": tuple(values["device_peak_mb"]),
            "roofline": None if roofline is None else Roofline(**roofline),
            "in_flight": tuple(
                InFlight(level["count"], tuple(level["images_per_s"]), tuple(level["samples_ms"]))
                for level in values.get("in_flight", ())
            ),
        }
    )  # fmt: skip


def _timing(values: dict[str, Any]) -> Timing:
    lanes = {
        way: Lane(tuple(lane["samples_ms"]), None if lane["warm_up"] is None else WarmUp(**lane["warm_up"]))
        for way, lane in values["lanes"].items()
    }
    for way, lane in lanes.items():
        if any(not 0 < value < math.inf for value in lane.samples_ms):
            raise ValueError(f"a time of {way!r} is no number above 0")
    if len({len(lane.samples_ms) for lane in lanes.values()}) > 1:
        raise ValueError("ways that were measured in turn have different numbers of times")
    return Timing(lanes, values["missing"])
