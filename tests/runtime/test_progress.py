"""Progress on stderr, tables, and what the machine says of itself."""

from __future__ import annotations

import io
import math
import sys

import pytest

from dlcv.runtime import progress
from dlcv.runtime.machine import cpu_count, cpu_name
from dlcv.runtime.progress import Progress, duration, per_second
from dlcv.runtime.tables import markdown_table, score


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (59.4, "59 s"), (75, "1 min 15 s"), (3600, "1 h 0 min"), (7500, "2 h 5 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_now_and_then_where_stderr_is_no_terminal(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress(10, "tiles") as shown:
        for step in range(10):
            clock[0] += 8
            shown.advance(1, "1 failed" if step > 2 else "")
    assert capsys.readouterr() == (
        "",
        "tiles: 2 of 10, about 1 min 4 s left\ntiles: 4 of 10, 1 failed, about 48 s left\n"
        "tiles: 6 of 10, 1 failed, about 32 s left\ntiles: 8 of 10, 1 failed, about 16 s left\n",
    )


def test_what_starts_slowly_does_not_count_for_the_time_left(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    """As workers of Ray do: half a minute for the first of 100 tiles, and seconds for the others."""
    with Progress(100, "tiles") as shown:
        clock[0] += 30
        shown.advance(0, "starting")
        clock[0] += 30
        for _ in range(10):
            shown.advance(1)
        clock[0] += 15
        for _ in range(30):
            shown.advance(1)
    assert capsys.readouterr().err.splitlines() == [
        "tiles: 0 of 100, starting",
        "tiles: 1 of 100",
        "tiles: 11 of 100, about 2 min 14 s left",
    ]


@pytest.mark.parametrize(("rate", "text"), [(0.0123, "0.012"), (7.25, "7.2"), (2280.4, "2280")])
def test_rates(rate: float, text: str) -> None:
    assert per_second(rate) == text


def test_quiet_shows_nothing(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(3, "tiles", quiet=True) as shown:
        clock[0] += 100
        shown.advance()
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress(4, "tiles") as shown:
        shown.advance(1)
        shown.advance(3, "2 failed")
    assert "tiles" in terminal.getvalue()
    assert "4/4" in terminal.getvalue()
    assert "2 failed" in terminal.getvalue()
    assert capsys.readouterr().out == "", "stdout is for data"


def test_tables_are_markdown() -> None:
    assert markdown_table(["", "a"], [["mean IoU", "0.5"], ["x", "10.25"]]) == (
        "|          |     a |\n|----------|------:|\n| mean IoU |   0.5 |\n| x        | 10.25 |"
    )
    assert markdown_table(["only", "b"], []) == "| only | b |\n|------|--:|"
    assert (score(0.69204), score(math.nan)) == ("0.6920", "-")


def test_the_machine() -> None:
    assert cpu_count() >= 1
    assert cpu_name()
