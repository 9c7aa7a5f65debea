"""Who may be inside a session now: at most so many threads, fewer when memory runs out, and one alone when it is put to the test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, get_ident
from types import TracebackType

from dlcv.runtime.waiting import Waiting


class Gate:
    """Lets `allowed` threads in at a time, and fewer after `narrow`; while one is `alone`, no other.

    Args:
        allowed: threads, at least 1.
    """

    def __init__(self, allowed: int) -> None:
        self.allowed, self._lock = allowed, Lock()
        self._changed = Waiting(self._lock)
        self._inside: set[int | None] = set()
        self._alone: int | None = None

    def narrow(self, allowed: int) -> bool:
        """Lets one less in than `allowed`; False where so few are let in already, or it would be none."""
        with self._lock:
            narrower = 1 < allowed <= self.allowed
            if narrower:
                self.allowed = allowed - 1
            return narrower

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Within it nobody else is inside; the thread itself may go in."""
        me = get_ident()
        try:
            with self._lock:
                while self._alone is not None:
                    self._changed.wait()
                self._alone = me
                while self._inside:  # Ctrl-C may come here: others must not wait for ever then
                    self._changed.wait()
            yield
        finally:
            self.leave(me)

    def leave(self, thread: int | None) -> None:
        """A thread is neither inside nor alone any more, or is counted so: it hangs there."""
        with self._lock:
            self._inside.discard(thread)
            if self._alone == thread:
                self._alone = None
            self._changed.notify_all()

    def __enter__(self) -> None:
        me = get_ident()
        with self._lock:
            while len(self._inside) >= self.allowed or self._alone not in (None, me):
                self._changed.wait()
            self._inside.add(me)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._inside.discard(get_ident())
            self._changed.notify_all()
