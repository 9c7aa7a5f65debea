"""A result as one HTML file: the plots first, then the tables. It needs no script and no network."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from dlcv.benchmarks.bench.report.plots import Point, line_plot, ratio_plot, stacked_bars
from dlcv.benchmarks.bench.report.tables import Table, images_per_second, quartiles, ratios_of, tables_of
from dlcv.benchmarks.bench.result import AGAIN, FILES, HOST, OURS, Case, InFlight, Lane, Result
from dlcv.benchmarks.bench.statistics import quantile
from dlcv.runtime.pages import Html, joined, page, tag

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 78rem; padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; }
th, td { padding: 2px 10px; text-align: right; border-bottom: 1px solid #8884; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.text td, .text th { text-align: left; white-space: normal; }
figure { margin: 1rem 0; } figcaption { font-weight: 600; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 32rem), 1fr)); gap: 1rem 2rem; }
svg { width: 100%; height: auto; } svg text { font: 13px system-ui, sans-serif; fill: currentColor; }
svg .small { font-size: 11px; paint-order: stroke; stroke: Canvas; stroke-width: 4px; } svg .inside { fill: #fff; font-size: 12px; }
.frame { fill: none; stroke: currentColor; stroke-width: 1; } .grid { stroke: currentColor; opacity: 0.15; }
.one { stroke: currentColor; stroke-dasharray: 4 3; }
p { max-width: 60rem; }
"""


def as_page(result: Result) -> str:
    """The whole page."""
    machine = result.environment
    where = f"{machine.get('gpu') or machine.get('cpu', 'an unknown machine')}, {machine.get('cores', '?')} cores, {machine.get('started', '')}"
    body = joined(
        tag("h1", "dlcv-bench"), tag("p", where), tag("div", *_plots(result), class_="plots"), *map(_table, tables_of(result))
    )  # fmt: skip
    return page("dlcv-bench", body, STYLE)


def _plots(result: Result) -> list[Html]:
    found = []
    latency, throughput = _lines(result, _latency_point), _in_flight_lines(result) or _lines(result, _throughput_point)
    batches = sorted({float(case.batch) for case in result.cases})
    if latency:
        found.append(
            _figure(
                "Latency against batch, host to host",
                line_plot(latency, "batch, images", "p50 of a batch, ms", batches),
            )
        )
        found.append(
            _figure(
                "Throughput against latency, host to host, by batches in flight",
                line_plot(throughput, "p50 of a call, ms", "images/s"),
            )
        )
    if bars := {f"{case.label}, batch {case.batch}": case.stages_ms for case in result.cases if case.stages_ms}:
        found.append(
            _figure(
                "Where a tile's time goes, file to file: the work of each stage's threads",
                stacked_bars(bars, "ms a tile"),
            )
        )
    for kind in (HOST, FILES):
        if rows := _ratio_rows(result, kind):
            found.append(
                _figure(f"dlcv beside the others, {kind}: median and quartiles", ratio_plot(rows, f"ratios, {kind}"))
            )
    return found


def _lines(result: Result, point: Callable[[Case, Lane], Point]) -> dict[str, list[Point]]:
    """Host-to-host lanes of all cases: a line a case and way, over the batches."""
    lines: dict[str, list[Point]] = {}
    for case in sorted(result.cases, key=lambda case: case.batch):
        if HOST in case.timings:
            for way, lane in case.timings[HOST].lanes.items():
                if way != AGAIN:
                    lines.setdefault(f"{way}: {case.label}", []).append(point(case, lane))
    return dict(sorted(lines.items(), key=lambda line: not line[0].startswith(f"{OURS}:")))


def _in_flight_lines(result: Result) -> dict[str, list[Point]]:
    """A line a case and batch, over the batches in flight."""
    lines = {}
    for case in result.cases:
        if case.in_flight:
            name = f"{OURS}: {case.label}" + (
                f", batch {case.batch}" if len({one.batch for one in result.cases}) > 1 else ""
            )
            lines[name] = [_in_flight_point(level) for level in case.in_flight]
    return lines


def _in_flight_point(level: InFlight) -> Point:
    low, rate, high = quartiles(level.images_per_s)
    return Point(median(level.samples_ms), rate, low, high, f"{level.count} in flight")


def _latency_point(case: Case, lane: Lane) -> Point:
    value = median(lane.samples_ms)
    found = quantile(lane.samples_ms, 0.5)
    return Point(case.batch, value, found.low if found else value, found.high if found else value)


def _throughput_point(case: Case, lane: Lane) -> Point:
    rate = images_per_second(case, HOST, lane) or 1.0
    return Point(median(lane.samples_ms), rate, rate, rate, f"batch {case.batch}")


def _ratio_rows(result: Result, kind: str) -> list[Point]:
    return [
        Point(ratio.median, 0.0, ratio.low, ratio.high, f"{name}: {case.label}, batch {case.batch}")
        for case in result.cases if kind in case.timings for name, ratio in ratios_of(case.timings[kind])
    ]  # fmt: skip


def _figure(caption: str, plot: Html) -> Html:
    return tag("figure", tag("figcaption", caption), plot)


def _table(table: Table) -> Html:
    head = tag("tr", *(tag("th", cell) for cell in table.header))
    rows = [tag("tr", *(tag("td", cell) for cell in row)) for row in table.rows]
    made = tag("table", tag("thead", head), tag("tbody", *rows), class_="text" if table.text else False)
    return tag(
        "section", tag("h2", table.title), tag("div", made, class_="wide"), *(tag("p", line) for line in table.below)
    )
