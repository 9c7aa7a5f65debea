"""The tables of a result, as text in rows; Markdown and the page show the same ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from statistics import quantiles as quantiles_of

from dlcv.benchmarks.bench.measure import CRITERION
from dlcv.benchmarks.bench.result import AGAIN, KINDS, OURS, PER, Case, Lane, Result, Roofline, Timing
from dlcv.benchmarks.bench.statistics import QUANTILES, Interval, drift, quantile, samples_for
from dlcv.benchmarks.timing import PairedRatio

NOISE = "noise: dlcv / dlcv again"
DRIFTED = 0.1
"""How far the second half's median may lie from the first's before it is told."""
MOST_SPREAD = 2.0
"""How far the quartiles of a share of the matrix rate may lie apart, as a ratio, before it is no figure."""


@dataclass(frozen=True)
class Table:
    """A heading, a header, rows, and lines below them; `text`: the last column is sentences, the others say of what."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    below: Sequence[str] = ()
    text: bool = False


def tables_of(result: Result) -> list[Table]:
    """All that have rows."""
    tables = [
        times_table(result),
        ratios_table(result),
        in_flight_table(result),
        files_table(result),
        resources_table(result),
        not_measured(result),
    ]
    return [*(table for table in tables if table.rows), environment_table(result)]


def times_table(result: Result) -> Table:
    """A row for each kind of time and each way."""
    header = [
        "case",
        "batch",
        "time",
        "way",
        *(f"{_percent(share)}, ms" for share in QUANTILES),
        "images/s",
        "samples",
        "warm-up",
    ]
    rows = [
        [case.label, str(case.batch), kind, way, *(quantile_text(lane, share) for share in QUANTILES),
         throughput_text(case, kind, lane), str(len(lane.samples_ms)), warm_up_text(lane)]
        for case, kind, timing in timings(result) for way, lane in timing.lanes.items()
    ]  # fmt: skip
    needed = ", ".join(f"{_percent(share)} {samples_for(share)}" for share in QUANTILES)
    below = [
        *(f"{kind} is {meaning}; a sample is a {PER[kind]}." for kind, meaning in KINDS.items() if any(k == kind for _, k, _ in timings(result))),
        f"In brackets: the interval that holds the quantile in 95 of 100 measurements, from order statistics. A dash, or nothing in brackets: too few samples for one, which needs {needed}.",
        f"Images/s: over all samples, one batch at a time. Warmed up: until {CRITERION}.",
    ]  # fmt: skip
    drifted = [
        f"{case.label}, batch {case.batch}, {kind}, {way}: the second half took {change:.2f} of the first; the machine was not at rest."
        for case, kind, timing in timings(result) for way, lane in timing.lanes.items()
        if len(lane.samples_ms) >= 8 and abs((change := drift(lane.samples_ms)) - 1) > DRIFTED
    ]  # fmt: skip
    return Table("Times", header, rows, below + drifted)


def ratios_table(result: Result) -> Table:
    """Ours beside the baselines and beside itself, pair by pair."""
    rows = []
    for case, kind, timing in timings(result):
        for name, ratio in ratios_of(timing):
            rows.append([case.label, str(case.batch), kind, name, f"{ratio.median:.3f}", f"{ratio.low:.3f} to {ratio.high:.3f}", str(ratio.pairs)])  # fmt: skip
    below = [
        "Above 1, dlcv takes longer. The noise is the same work twice: ratios within its quartiles of 1 say nothing."
    ]
    return Table("dlcv beside the others, of the same rounds", ["case", "batch", "time", "ratio", "median", "quartiles", "pairs"], rows, below)  # fmt: skip


def in_flight_table(result: Result) -> Table:
    """Throughput and latency by batches in flight."""
    quantiles = (0.5, 0.9, 0.99)
    rows = []
    for case in result.cases:
        for level in case.in_flight:
            low, rate, high = quartiles(level.images_per_s)
            told = (quantile_text(Lane(level.samples_ms), share) for share in quantiles)
            rows.append([case.label, str(case.batch), str(level.count), f"{rate:.4g} ({low:.4g} to {high:.4g})", *told])
    header = ["case", "batch", "in flight", "images/s", *(f"{_percent(share)} of a call, ms" for share in quantiles)]
    below = [
        "So many threads call one session again and again, each with a batch; on a CPU the session has as many lanes, which share the cores, as dlcv-infer's has. Images/s: median and quartiles of the rounds, the levels in turn."
    ]
    return Table("Throughput by batches in flight, host to host", header, rows, below)


def ratios_of(timing: Timing) -> list[tuple[str, PairedRatio]]:
    """By name, the noise first."""
    pairs = [(NOISE, timing.ratio(OURS, AGAIN))] + [
        (f"dlcv / {way}", timing.ratio(OURS, way)) for way in timing.baselines()
    ]
    return [(name, ratio) for name, ratio in pairs if ratio is not None]


def files_table(result: Result) -> Table:
    """The pipeline's stages."""
    rows = [
        [case.label, str(case.batch), *(f"{case.stages_ms[stage]:.4g}" for stage in ("decode", "session", "write"))]
        for case in result.cases if case.stages_ms
    ]  # fmt: skip
    below = [
        "Milliseconds a tile that the threads of a stage were at work, summed over its threads; stages run beside each other."
    ]
    return Table("Stages, file to file", ["case", "batch", "decode", "session", "write"], rows, below)


def resources_table(result: Result) -> Table:
    """Memory, power, clocks, roofline."""
    header = ["case", "batch", "peak host memory, MB", "without dlcv", "device memory, MB", "power, W", "SM clock, MHz",
              "GFLOP/s", "of the matrix rate"]  # fmt: skip
    rows = []
    for case in result.cases:
        bare = [peaks for way, peaks in case.host_peak_mb.items() if way != OURS]
        roof = case.roofline
        rows.append([
            case.label, str(case.batch), _middle(case.host_peak_mb.get(OURS, ())), _middle(bare[0] if bare else ()),
            _middle(case.device_peak_mb), _reading(case, "power_w"), _reading(case, "sm_mhz"),
            f"{roof.engine_flops / 1e9:.4g}" if roof else "-",
            _share_told(roof) if roof else "-",
        ])  # fmt: skip
    below = [
        "Host memory: resident at its peak, of a new process that answers one batch; the median of the processes. The matrix rate is that of a matrix product in the same library, device and precision."
    ]
    return Table("Memory, power, roofline", header, rows, below)


def _share_told(roof: Roofline) -> str:
    """The share of the matrix rate; where its quartiles lie too far apart to be a share of anything, that is told."""
    of = f"of {roof.matrix_flops / 1e9:.4g}, {roof.time}"
    if roof.share_high > MOST_SPREAD * roof.share_low:
        return f"not known: {roof.share_low:.0%} to {roof.share_high:.0%} {of}"
    return f"{roof.share:.1%} ({roof.share_low:.1%} to {roof.share_high:.1%}) {of}"


def not_measured(result: Result) -> Table:
    """What is missing, with the reason; one row for all that lack the same for the same reason."""
    without: dict[tuple[str, str], list[Case]] = {}
    for case in result.cases:
        parts = [(what, why) for what, why in case.missing.items()]
        parts += [
            (f"{kind}, {way}", why) for kind, timing in case.timings.items() for way, why in timing.missing.items()
        ]
        for part in parts:
            without.setdefault(part, []).append(case)
    rows = [[label, "", "", why] for label, why in result.left_out.items()]
    for (what, why), cases in without.items():
        if len(cases) == len(result.cases) > 1:
            rows.append(["every case", "", what, why])
            continue
        batches: dict[str, list[int]] = {}
        for case in cases:
            batches.setdefault(case.label, []).append(case.batch)
        rows += [[label, f"batch {', '.join(map(str, of))}", what, why] for label, of in batches.items()]
    return Table("Not measured", ["case", "batch", "what", "why"], rows, text=True)


def environment_table(result: Result) -> Table:
    """The machine and the software."""
    rows = []
    for name, value in result.environment.items():
        if value not in ("", None, {}, []):
            text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
            rows.append([name.replace("_", " "), " ".join(map(str, text)) if isinstance(text, list) else str(text)])
    return Table("Environment", ["", "value"], rows, text=True)


def timings(result: Result) -> Iterator[tuple[Case, str, Timing]]:
    """Each case's kinds of time, in the order of `KINDS`."""
    for case in result.cases:
        for kind in KINDS:
            if kind in case.timings:
                yield case, kind, case.timings[kind]


def quantile_text(lane: Lane, share: float) -> str:
    """`12.3 (12.1 to 12.6)`; with too few samples `-`, and of the median its value alone."""
    found = quantile(lane.samples_ms, share)
    if found is None and share == 0.5:
        return f"{median(lane.samples_ms):.4g}"
    return "-" if found is None else interval_text(found)


def interval_text(found: Interval) -> str:
    """With four digits."""
    return f"{found.value:.4g} ({found.low:.4g} to {found.high:.4g})"


def images_per_second(case: Case, kind: str, lane: Lane) -> float | None:
    """Over all samples of a way; None of processes, which are not about throughput."""
    images = {"tile": 1, "batch": case.batch}.get(PER[kind])
    if images is None or kind == "first call":
        return None
    return 1000 * images * len(lane.samples_ms) / sum(lane.samples_ms)


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile; of one value, itself."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = quantiles_of(values, n=4)
    return low, middle, high


def throughput_text(case: Case, kind: str, lane: Lane) -> str:
    """`81.2`; `-` where it makes no sense."""
    rate = images_per_second(case, kind, lane)
    return "-" if rate is None else f"{rate:.4g}"


def warm_up_text(lane: Lane) -> str:
    """How long it took until the times were stable, and whether they became so."""
    if lane.warm_up is None:
        return "-"
    warm = lane.warm_up
    return f"{warm.calls} calls, {warm.seconds:.2g} s" + ("" if warm.stable else ", not stable")


def _percent(share: float) -> str:
    return f"p{share * 100:g}"


def _middle(values: Sequence[float]) -> str:
    return f"{median(values):.4g}" if values else "-"


def _reading(case: Case, name: str) -> str:
    if f"{name}_median" not in case.gpu:
        return "-"
    return f"{case.gpu[f'{name}_median']:.4g} ({case.gpu[f'{name}_min']:.4g} to {case.gpu[f'{name}_max']:.4g})"
