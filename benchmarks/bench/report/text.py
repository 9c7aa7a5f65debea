"""A result as Markdown and as CSV."""

from __future__ import annotations

import csv
import io

from dlcv.benchmarks.bench.report.tables import Table, images_per_second, tables_of, timings
from dlcv.benchmarks.bench.result import Result
from dlcv.benchmarks.bench.statistics import QUANTILES, quantile
from dlcv.runtime.tables import markdown_table

COLUMNS = (
    "engine", "model", "precision", "device", "session", "computes", "batch", "time", "way", "samples", "mean_ms",
    *(f"p{share * 100:g}_ms{end}" for share in QUANTILES for end in ("", "_low", "_high")), "images_per_s",
)  # fmt: skip
"""Of the CSV, a row for each kind of time and each way; what there are too few samples for is empty."""


def as_markdown(result: Result) -> str:
    """All tables, with their headings."""
    return "# dlcv-bench\n\n" + "\n\n".join(map(markdown_of, tables_of(result))) + "\n"


def markdown_of(table: Table) -> str:
    """A table with its heading and what stands below it; one of sentences is a list."""
    if table.text:
        lines = [f"- {', '.join(filter(None, row[:-1]))}: {row[-1]}" for row in table.rows]
        return "\n\n".join([f"## {table.title}", "\n".join(lines), *table.below])
    rows = [[cell.replace("|", "\\|") for cell in row] for row in table.rows]
    return "\n\n".join([f"## {table.title}", markdown_table(table.header, rows), *table.below])


def as_csv(result: Result) -> str:
    """See `COLUMNS`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for case, kind, timing in timings(result):
        for way, lane in timing.lanes.items():
            engine, samples = case.engine, lane.samples_ms
            row = [
                engine.name,
                engine.model,
                engine.precision,
                case.device,
                case.session,
                case.computes,
                case.batch,
                kind,
                way,
            ]
            cells: list[float | None] = [len(samples), sum(samples) / len(samples)]
            for share in QUANTILES:
                found = quantile(samples, share)
                cells += [None, None, None] if found is None else [found.value, found.low, found.high]
            cells.append(images_per_second(case, kind, lane))
            writer.writerow([*row, *("" if value is None else f"{value:.6g}" for value in cells)])
    return text.getvalue()
