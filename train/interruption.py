"""Ctrl-C and SIGTERM as a request to stop at the next good place."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stop_signal() -> Iterator[Callable[[], bool]]:
    """Within it, the first Ctrl-C or SIGTERM is noted (the function given returns True); a Ctrl-C after it interrupts at once.

    SIGTERM is what torchrun and job schedulers send before they kill; both at once it comes twice and still means a good place.
    """
    pressed: list[int] = []

    def note(number: int, frame: Any) -> None:
        if pressed and number == signal.SIGINT:
            raise KeyboardInterrupt
        pressed.append(number)

    try:
        before = [(number, signal.signal(number, note)) for number in (signal.SIGINT, signal.SIGTERM)]
    except ValueError:  # not the main thread: the caller handles signals
        yield lambda: False
        return
    try:
        yield lambda: bool(pressed)
    finally:
        for number, handler in before:
            signal.signal(number, handler)
