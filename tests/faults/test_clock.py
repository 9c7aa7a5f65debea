"""Clocks that jump: what a report says of time is measured by a clock that cannot."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
BACKWARDS = """
import time
_real, _calls = time.time, []
def _back():  # an hour back at each call
    _calls.append(1)
    return _real() - 3600 * len(_calls)
time.time = _back
"""
ASKED = re.compile(r"\btime\.time|\btime_ns\b|\b(now|utcnow|today)\b|from time import")
DATES = {"runtime/run/course.py", "runtime/progress.py"}
"""Where the wall clock is asked, for a date that people read; and for click's bar, which counts its estimate with it."""


def test_the_wall_clock_is_asked_for_dates_alone() -> None:
    """A difference of two wall-clock times is negative, or years, when somebody sets the clock."""
    found = set()
    for top in ("runtime", "train", "export", "benchmarks"):
        for path in (ROOT / top).rglob("*.py"):
            text = path.read_text()
            if not ASKED.search(text):
                continue  # to parse them all takes a second
            for node in ast.walk(ast.parse(text)):
                asked = isinstance(node, ast.Attribute) and node.attr in ("time", "time_ns", "now", "utcnow", "today")
                if asked and ast.unparse(node) in (  # type: ignore[arg-type]
                    "time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.datetime.now", "date.today"
                ):  # fmt: skip
                    found.add(path.relative_to(ROOT).as_posix())
                if isinstance(node, ast.ImportFrom) and node.module == "time":
                    assert not {name.name for name in node.names} & {"time", "time_ns"}, path
    assert found <= DATES


@pytest.mark.slow
def test_a_clock_that_goes_back_changes_no_figure_and_no_answer(
    harness: Any, fork: Callable[..., Any], many_tiles: Path, tiny_onnx: Path, tmp_path: Path
) -> None:
    given = (many_tiles, "--engine", tiny_onnx, "--device", "cpu", "--output")
    took_s = harness.life_of(fork("dlcv-infer", *given, tmp_path / "m", before=BACKWARDS))
    facts = json.loads((tmp_path / "m/summary.json").read_text())
    assert 0 < facts["seconds"] <= took_s
    assert facts["tiles_per_second"] == pytest.approx(60 / facts["seconds"], rel=0.05)  # both are rounded
    for stage in facts["time"].values():
        assert 0 <= stage["busy_s"] <= took_s * stage["threads"]
    before = harness.tree(tmp_path / "m")
    again = fork("dlcv-infer", *given, tmp_path / "m", "--resume", before=BACKWARDS)
    _, err = again.communicate(timeout=300)
    assert "(60 of them before)" in err, "tiles are known by what they were, not by who is newer"
    assert harness.tree(tmp_path / "m") == before


@pytest.mark.slow
def test_a_clock_that_goes_back_leaves_trainings_times_alone(
    harness: Any, fork: Callable[..., Any], tiny_data: Path, tmp_path: Path
) -> None:
    given = (
        "--model", "fcn8s", "--data", tiny_data, "--width", "0.05", "--crop", "32", "--batch", "4", "--epochs", "2",
        "--workers", "0", "--device", "cpu", "--output", tmp_path / "run",
    )  # fmt: skip
    took_s = harness.life_of(fork("dlcv-train", *given, before=BACKWARDS))
    header, *rows = (tmp_path / "run/history.csv").read_text().splitlines()
    column = header.split(",").index("seconds")
    assert all(0 < float(row.split(",")[column]) <= took_s for row in rows)
    assert len(rows) == 2
