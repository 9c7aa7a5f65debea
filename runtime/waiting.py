"""Threads that wait for what another one changes."""

from __future__ import annotations

from threading import Condition, Lock


class Waiting:
    """A condition that costs next to nothing to notify while nobody waits, which is nearly always so in a busy pipeline.

    Args:
        lock: held by whoever calls any of its methods; several conditions may share one.
    """

    def __init__(self, lock: Lock) -> None:
        self._condition, self._count = Condition(lock), 0

    def wait(self, timeout_s: float | None = None) -> None:
        """Gives the lock away until it is notified, or the time is over, and takes it again; it may also return for no reason."""
        self._count += 1
        try:
            self._condition.wait(timeout_s)
        finally:
            self._count -= 1

    def notify(self, count: int = 1) -> None:
        """Wakes so many of those that wait."""
        if self._count:
            self._condition.notify(count)

    def notify_all(self) -> None:
        """Wakes all that wait."""
        if self._count:
            self._condition.notify_all()
