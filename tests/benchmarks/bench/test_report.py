"""Tables, CSV, Markdown and the page; the page in a browser, without an error."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlcv.benchmarks.bench.report.page import as_page
from dlcv.benchmarks.bench.report.plots import Point, _scale, _ticks, line_plot, stacked_bars
from dlcv.benchmarks.bench.report.tables import Table, in_flight_table, resources_table, times_table
from dlcv.benchmarks.bench.report.text import COLUMNS, as_csv, as_markdown, markdown_of
from dlcv.benchmarks.bench.report.write import FILES, write_result
from dlcv.benchmarks.bench.result import COLD, HOST, Lane, Result, Roofline, Timing, read_result

WAYS = {"dlcv": 10.0, "dlcv again": 10.0, "bare ONNX Runtime": 9.5, "torch eager": 30.0}
HOSTILE = "<script>alert(1)</script>.onnx"


def _lanes(batch: int, count: int) -> dict[str, list[float]]:
    rng = np.random.default_rng(batch)
    return {way: list(batch**0.8 * median * rng.lognormal(0, 0.05, count)) for way, median in WAYS.items()}


@pytest.fixture
def result(made: Any) -> Result:
    cases = [made.case_of(_lanes(batch, 100), batch=batch, whole=True) for batch in (1, 4, 8)]
    cases.append(made.case_of(_lanes(1, 3), name=HOSTILE))
    return Result(
        made.MACHINE, {}, tuple(cases), {"fcn8s.plan with --device cuda": "this machine has no NVIDIA driver"}
    )


def test_kinds_of_time_are_told_apart(result: Result) -> None:
    table = times_table(result)
    assert {row[2] for row in table.rows} == {"host-to-host", "file-to-file"}
    assert any(
        line.startswith("host-to-host is session.run: ") and line.endswith("a sample is a batch.")
        for line in table.below
    )
    assert any(line.startswith("file-to-file is dlcv-infer's pipeline: ") and line.endswith("a sample is a tile.") for line in table.below)  # fmt: skip


def test_quantiles_that_there_are_too_few_samples_for_are_not_told(result: Result) -> None:
    rows = {(row[0].partition(",")[0], row[2], row[3]): row for row in times_table(result).rows if row[1] == "1"}
    many, few = rows["fcn8s.onnx", "host-to-host", "dlcv"], rows[HOSTILE, "host-to-host", "dlcv"]
    assert " to " in many[4] and many[7] == "-", "100 samples give a median and no p99"
    assert few[5:8] == ["-"] * 3 and " to " not in few[4] and float(few[4]) > 0, "a median alone, and no interval"
    assert any("p99 368" in line for line in times_table(result).below)


def test_throughput_by_batches_in_flight(result: Result) -> None:
    rows = in_flight_table(result).rows
    assert [(row[1], row[2]) for row in rows] == [(batch, count) for batch in "148" for count in "12"]
    assert rows[1][3].startswith("97 ("), "the median of 92 and 102"
    assert rows[1][4].startswith("20 (") and rows[1][6] == "-", "40 samples give no p99"


def test_throughput(made: Any) -> None:
    case = made.case_of({"dlcv": [20.0, 20.0, 60.0]}, batch=4)
    case = replace(case, timings={**case.timings, COLD: Timing({"dlcv": Lane((500.0,) * 8)})})
    host, cold = times_table(Result(made.MACHINE, {}, (case,))).rows
    assert host[8] == "120", "12 images in 100 ms"
    assert cold[8] == "-"


def test_drift_is_told(made: Any) -> None:
    table = times_table(made.result_of({"dlcv": [1.0] * 8 + [2.0] * 8}))
    assert table.below[-1].endswith(
        "host-to-host, dlcv: the second half took 2.00 of the first; the machine was not at rest."
    )


@pytest.mark.parametrize(
    ("quartiles", "told"),
    [
        ((0.45, 0.55), "50.0% (45.0% to 55.0%) of 100, host"),
        ((0.494, 13.48), "not known: 49% to 1348% of 100, host"),  # seen on a busy machine, as a share of 1224 %
    ],
)
def test_a_share_of_the_roof_that_is_noise_is_no_figure(
    result: Result, quartiles: tuple[float, float], told: str
) -> None:
    case = replace(result.cases[0], roofline=Roofline(5e10, 1e11, HOST, 0.5, *quartiles, 15))
    assert resources_table(replace(result, cases=(case,))).rows[0][-1].startswith(told)


def test_csv_has_a_row_for_each_way(result: Result) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(result))))
    assert len(rows) == 3 * 2 * 4 + 4
    assert tuple(rows[0]) == COLUMNS
    assert float(rows[0]["p50_ms_low"]) <= float(rows[0]["p50_ms"]) <= float(rows[0]["p50_ms_high"])
    assert rows[0]["p99_ms"] == ""
    assert {row["engine"] for row in rows} == {"fcn8s.onnx", HOSTILE}


def test_markdown_says_what_is_missing(result: Result) -> None:
    text = as_markdown(result)
    assert "\n- fcn8s.plan with --device cuda: this machine has no NVIDIA driver\n" in text
    assert text.count(": a CPU\n") == 1
    assert "\n- fcn8s.onnx, onnxruntime on cpu, in fp32, batch 1, 4, 8, device: a CPU\n" in text
    assert "file-to-file, torch.compile: no C++ compiler <was> found | here\n" in text
    assert "50.0% (45.0% to 55.0%) of 100, host-to-host" in text
    assert "noise: dlcv / dlcv again" in text
    assert "\n- cpu: A CPU\n" in text


def test_what_no_case_has_is_told_once(result: Result) -> None:
    cases = tuple(replace(case, missing={"power": "of a GPU only"}) for case in result.cases)
    assert "\n- every case, power: of a GPU only\n" in as_markdown(replace(result, cases=cases))


def test_a_bar_does_not_end_its_cell() -> None:
    made = markdown_of(Table("T", ["a", "b"], [["x | y", "z"]]))
    assert made.splitlines()[-1] == "| x \\| y | z |"


def test_files_are_written(result: Result, tmp_path: Path) -> None:
    paths = write_result(result, tmp_path / "bench")
    assert [path.name for path in paths] == list(FILES)
    assert read_result(paths[0]).cases[0].key == result.cases[0].key


def test_a_result_without_lanes_has_a_page(made: Any) -> None:
    assert "Environment" in as_page(Result(made.MACHINE, {}, ()))


def test_ticks_lie_within_the_values() -> None:
    assert _ticks([1, 100]) == [1, 2, 5, 10, 20, 50, 100]
    close = _ticks([31.0, 34.0])
    assert len(close) >= 2 and all(30 <= tick <= 35 for tick in close)
    place = _scale([1, 100], 0, 100)
    assert place(10) == pytest.approx(50.0) and 0 < place(1) < place(100) < 100


def test_bars_have_the_lengths_of_their_values() -> None:
    import re

    made = stacked_bars({"a": {"decode": 1.0, "session": 3.0}, "b": {"decode": 2.0, "session": 0.0}}, "ms")
    widths = [float(width) for width in re.findall(r'<rect [^>]*width="([\d.]+)" height="20"', made)]
    assert widths[1] == pytest.approx(3 * widths[0], rel=0.01) and widths[2] == pytest.approx(2 * widths[0], rel=0.01)
    assert widths[3] == 0


def test_the_page_opens_without_an_error(browser: Any, result: Result, tmp_path: Path) -> None:
    path = tmp_path / "bench.html"
    path.write_text(as_page(result), "utf-8")
    browser.open(path)
    assert browser.problems == [] and browser.dialogs == []
    assert browser.js("document.querySelectorAll('figure svg').length") == 5
    headings = browser.texts("h2")
    assert headings[:2] == ["Times", "dlcv beside the others, of the same rounds"] and headings[-1] == "Environment"
    assert browser.js("[...document.querySelectorAll('td')].some(cell => cell.textContent.startsWith('<script>'))")
    boxes = browser.js(
        "[...document.querySelectorAll('svg')].map(svg => [...svg.querySelectorAll('circle, rect, text')].every(one => "
        "{ const a = svg.getBoundingClientRect(), b = one.getBoundingClientRect(); return b.left >= a.left - 1 && "
        "b.right <= a.right + 1 && b.top >= a.top - 1 && b.bottom <= a.bottom + 1 }))"
    )
    assert boxes == [True] * 5, "nothing is drawn outside of its plot"
    assert browser.js("document.documentElement.scrollWidth <= window.innerWidth"), (
        "wide tables scroll in their own box"
    )
    lines = browser.js(
        "[...document.querySelectorAll('svg')].slice(0, 2).map(svg => svg.querySelectorAll('polyline').length)"
    )
    assert lines == [2 * 3, 3], (
        "latency: two engines, three ways; throughput: an engine at three batches, by what is in flight"
    )
    assert browser.js("document.querySelectorAll('svg')[1].querySelectorAll('circle').length") == 3 * 2 + 3


def test_labels_do_not_lie_over_each_other() -> None:
    lines = {
        "a": [Point(1, 10, 9, 11, "1 there"), Point(50, 10, 9, 11, "far away")],
        "b": [Point(1, 10, 9, 11, "1 too")],
    }
    page = line_plot(lines, "x", "y")
    assert [word in page for word in (">1 there<", ">far away<", ">1 too<")] == [True, True, False]
    assert "1 too 1, 10" in page, "its title has it"
