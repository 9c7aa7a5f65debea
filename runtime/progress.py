"""Progress of long work, on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer
from types import TracebackType
from typing import Any

import click

LINE_EVERY_S = 15.0
"""Seconds between two lines where stderr is no terminal."""


PATIENCE_S = 1.5
"""Seconds until a terminal is told what takes so long."""


class Progress:
    """Counts up to `total`; use it as a context manager.

    Args:
        total: how many steps the work has.
        label: what is being done.
        quiet: show nothing.
    """

    def __init__(self, total: int, label: str, *, quiet: bool = False) -> None:
        self._total, self._label, self._quiet = total, label, quiet
        self._done, self._text = 0, ""
        self._last_line = time.monotonic()
        self._first: tuple[float, int] | None = None
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if not self._quiet and on_a_terminal():
            self._bar = click.progressbar(
                length=self._total, label=self._label, file=sys.stderr, show_pos=True, width=24,
                item_show_func=lambda _: self._shown(), update_min_steps=1,
            )  # fmt: skip
            self._bar.__enter__()
            self._bar.render_progress()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.__exit__(kind, error, trace)

    def advance(self, steps: int = 1, text: str = "") -> None:
        """`steps` more are done; `text` (a loss, a count of failures) stands behind the bar."""
        self._done, self._text = self._done + steps, text
        if steps and self._first is None:
            self._first = time.monotonic(), self._done
            if self._bar is not None:  # what was waited for the first result says nothing of the others
                self._bar.start = self._bar.last_eta = time.time()
        if self._bar is not None:
            self._bar.update(steps, self._total)
        elif not self._quiet:
            self._line_now_and_then()

    def _line_now_and_then(self) -> None:
        now = time.monotonic()
        if now - self._last_line < LINE_EVERY_S or self._done >= self._total:
            return
        self._last_line = now
        text = f", {self._text}" if self._text else ""
        rate = self._rate()
        left = f", about {duration((self._total - self._done) / rate)} left" if rate else ""
        click.echo(f"{self._label}: {self._done} of {self._total}{text}{left}", err=True)

    def _rate(self) -> float:
        """Steps a second since the first results, which had what starts slowly before them; 0 where there are too few to tell."""
        if self._first is None:
            return 0.0
        seconds = time.monotonic() - self._first[0]
        return (self._done - self._first[1]) / seconds if seconds >= 1.0 else 0.0

    def _shown(self) -> str | None:
        rate = self._rate()
        return ", ".join([f"{per_second(rate)}/s"] * bool(rate) + [self._text] * bool(self._text)) or None


def per_second(rate: float) -> str:
    """`0.0123` -> `0.012`, `7.25` -> `7.2`, `2280.4` -> `2280`."""
    return f"{rate:.2g}" if rate < 1 else f"{rate:.1f}" if rate < 100 else f"{rate:.0f}"


def on_a_terminal() -> bool:
    """Whether stderr is a terminal; a process without one has None there."""
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def patience(what: str, say: Callable[[str], None], *, quiet: bool = False) -> Iterator[None]:
    """Says on a terminal what is being done inside, once it takes longer than a person waits without a word.

    Args:
        what: `opening fcn8s.onnx`.
        say: takes the line.
        quiet: say nothing.
    """
    if quiet or not on_a_terminal():
        yield
        return
    timer = Timer(PATIENCE_S, say, (f"{what} ...",))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def duration(seconds: float) -> str:
    """`75` -> `1 min 15 s`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
