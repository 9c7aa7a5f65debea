"""Threads that may hang: a call inside a library or a file system cannot be ended, but its thread can be left behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock, Thread
from typing import Any


class Left(Exception):
    """The worker took too long and was left behind: what it does now counts no more."""


class Worker:
    """A thread of a stage.

    Args:
        stage: its name.
        body: what it does; given the worker itself.
        end: called in the thread when the body has ended, with its error; not when the worker was left behind.

    Attributes:
        task: what it has at work now; None when it waits.
        busy_s: at work so far, in seconds on the clock.
        cpu_s: CPU time of the thread up to the end of its last task, in seconds.
    """

    def __init__(self, stage: str, body: Callable[[Worker], None], end: Callable[[BaseException | None], None]) -> None:
        self.stage, self.task = stage, None  # type: str, Any
        self.busy_s = self.cpu_s = 0.0
        self._body, self._end = body, end
        self._since, self._left, self._lock = 0.0, False, Lock()
        self.thread = Thread(target=self._run, name=f"dlcv-{stage}", daemon=True)

    def at(self, task: Any) -> Worker:
        """For `with`: what happens inside is work on `task`. Written out, since it is entered several times a tile.

        Raises:
            Left: at the end, when the worker was left behind meanwhile; an error from inside is dropped then.
        """
        with self._lock:
            self.task, self._since = task, time.monotonic()
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        with self._lock:
            self.task = None
            self.busy_s += time.monotonic() - self._since
            self.cpu_s = time.thread_time()
            if self._left:
                raise Left

    def leave_if_late(self, limit_s: float, patient_from: float = 0.0) -> Any:
        """Leaves the worker behind when it has been at one task for longer than `limit_s`; gives that task, else None.

        Args:
            limit_s: seconds.
            patient_from: by `time.monotonic`; no time before it counts.
        """
        with self._lock:
            if self._left or self.task is None or time.monotonic() - max(self._since, patient_from) < limit_s:
                return None
            self._left = True
            return self.task

    def join(self, limit_s: float | None) -> bool:
        """Waits for the thread's end, `limit_s` seconds at most; True when it has ended. One left behind is not waited for."""
        if self._left:
            return False
        if self.thread.ident is not None:  # one that was not started yet has nothing to end
            self.thread.join(limit_s)
        return not self.thread.is_alive()

    def _run(self) -> None:
        try:
            self._body(self)
        except Left:
            return
        except BaseException as error:
            self._end(error)
        else:
            self._end(None)
