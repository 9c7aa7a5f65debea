"""From many threads to one that is woken for a bundle: to wake it for each message costs more than what it does with one.

Seen on 2 cores at work with decoding: a thread that is woken once a tile took 7 % of the time of a tile of 512 x 512, most of it in
the switching of threads, not in its own code.
"""

from __future__ import annotations

from collections import deque
from threading import Lock
from typing import Generic, TypeVar

from dlcv.runtime.waiting import Waiting

M = TypeVar("M")

BUNDLE = 16
"""Messages for which the reader is woken; fewer wait `PATIENCE_S` at most."""
PATIENCE_S = 0.05


class Outbox(Generic[M]):
    """A bounded queue with one reader.

    Args:
        room: messages that may wait; then `put` waits, so that a slow reader does not cost memory.
    """

    def __init__(self, room: int) -> None:
        self._messages: deque[M] = deque()
        self._room, self._urgent, self._draining = room, False, False
        self._lock = Lock()
        self._woken, self._emptied = Waiting(self._lock), Waiting(self._lock)

    def put(self, message: M) -> None:
        """Adds a message, which the reader sees soon; waits for room."""
        with self._lock:
            while len(self._messages) >= self._room:
                self._emptied.wait()
            self._messages.append(message)
            if len(self._messages) == BUNDLE:
                self._woken.notify()

    def put_now(self, message: M) -> None:
        """Adds a message and wakes the reader; never waits."""
        with self._lock:
            self._messages.append(message)
            self._urgent = True
            self._woken.notify()

    def get(self, patience_s: float = PATIENCE_S) -> M | None:
        """The next message, in the order in which they were put; None when there is none after `patience_s`.

        Args:
            patience_s: how long to wait for a bundle, in seconds.
        """
        with self._lock:
            if not self._draining and not self._urgent and len(self._messages) < BUNDLE:
                self._woken.wait(patience_s)
            if not self._messages:
                self._draining = self._urgent = False
                return None
            self._draining = True
            message = self._messages.popleft()
            self._emptied.notify()
            return message

    def open_up(self) -> None:
        """From now on there is room for any number."""
        with self._lock:
            self._room = 1 << 62
            self._emptied.notify_all()
