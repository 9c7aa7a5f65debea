"""Threads that may hang: a call inside a library or a file system cannot be ended, but its thread can be left behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Thread
from typing import Any

CPU_EVERY = 32
"""Tasks after which a worker looks at its CPU time: that is a call into the kernel."""


class Left(Exception):
    """The worker took too long and was left behind: what it does now counts no more."""


class Worker:
    """A thread of a stage.

    Args:
        stage: its name.
        body: what it does; given the worker itself.
        end: called in the thread when the body has ended, with its error; not when the worker was left behind.

    Attributes:
        busy_s: at work so far, in seconds on the clock.
        cpu_s: CPU time of the thread, in seconds: of one that has ended in all, of one that was left behind up to one of its last
            `CPU_EVERY` tasks.
    """

    __slots__ = ("_body", "_end", "_left", "_number", "_tasks", "busy_s", "cpu_s", "stage", "thread")

    def __init__(self, stage: str, body: Callable[[Worker], None], end: Callable[[BaseException | None], None]) -> None:
        self.stage = stage
        self.busy_s = self.cpu_s = 0.0
        self._body, self._end = body, end
        # The task at work, by its number, and since when. Whoever takes it out, the worker or who leaves it behind, has it: taking
        # out is one step, and needs no lock.
        self._tasks: dict[int, tuple[Any, float]] = {}
        self._number, self._left = 0, False
        self.thread = Thread(target=self._run, name=f"dlcv-{stage}", daemon=True)

    def at(self, task: Any) -> Worker:
        """For `with`: what happens inside is work on `task`. Written out, since it is entered several times a tile.

        Raises:
            Left: at the end, when the worker was left behind meanwhile; an error from inside is dropped then.
        """
        self._number += 1
        self._tasks[self._number] = task, time.monotonic()
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        mine = self._tasks.pop(self._number, None)
        if mine is None:
            raise Left
        self.busy_s += time.monotonic() - mine[1]
        if self._number % CPU_EVERY == 0:
            self.cpu_s = time.thread_time()

    def leave_if_late(self, limit_s: float, patient_from: float = 0.0) -> Any:
        """Leaves the worker behind when it has been at one task for longer than `limit_s`; gives that task, else None.

        Args:
            limit_s: seconds.
            patient_from: by `time.monotonic`; no time before it counts.
        """
        for number, (task, since) in self._tasks.copy().items():
            if time.monotonic() - max(since, patient_from) >= limit_s and self._tasks.pop(number, None) is not None:
                self._left = True
                return task
        return None

    def join(self, limit_s: float | None) -> bool:
        """Waits for the thread's end, `limit_s` seconds at most; True when it has ended. One left behind is not waited for."""
        if self._left:
            return False
        if self.thread.ident is not None:  # one that was not started yet has nothing to end
            self.thread.join(limit_s)
        return not self.thread.is_alive()

    def _run(self) -> None:
        try:
            try:
                self._body(self)
            finally:
                self.cpu_s = time.thread_time()
        except Left:
            return
        except BaseException as error:
            self._end(error)
        else:
            self._end(None)
