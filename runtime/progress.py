"""Progress of long work, on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

import click

LINE_EVERY_S = 15.0
"""Seconds between two lines where stderr is no terminal."""


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
        self._start = self._last_line = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if not self._quiet and sys.stderr.isatty():
            self._bar = click.progressbar(
                length=self._total, label=self._label, file=sys.stderr, show_pos=True, width=24,
                item_show_func=lambda _: self._text or None, update_min_steps=1,
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
        if self._bar is not None:
            self._bar.update(steps, self._total)
        elif not self._quiet:
            self._line_now_and_then()

    def _line_now_and_then(self) -> None:
        now = time.monotonic()
        if now - self._last_line < LINE_EVERY_S or self._done >= self._total:
            return
        self._last_line = now
        left_s = (now - self._start) / max(self._done, 1) * (self._total - self._done)
        text = f", {self._text}" if self._text else ""
        click.echo(f"{self._label}: {self._done} of {self._total}{text}, about {duration(left_s)} left", err=True)


def duration(seconds: float) -> str:
    """`75` -> `1 min 15 s`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
