"""A bounded queue between threads that can be closed (no more will come) and aborted (stop now)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from threading import Lock
from typing import Generic, TypeVar

from dlcv.runtime.waiting import Waiting

T = TypeVar("T")


class Aborted(Exception):
    """The channel was aborted: whoever waits on it ends its work."""


class Channel(Generic[T]):
    """A first-in, first-out queue of at most `capacity` items.

    Args:
        capacity: `put` waits while so many items are waiting; at least 1.
        producers: how many times `close` is called before the channel counts as closed.
    """

    def __init__(self, capacity: int, producers: int = 1) -> None:
        self._items: deque[T] = deque()
        self._capacity, self._open = capacity, producers
        self._lock = Lock()
        # One waiting thread is woken for one item: with more cores' worth of threads than cores, waking all costs more than the item.
        self._filled, self._emptied = Waiting(self._lock), Waiting(self._lock)
        self._aborted = False

    def put(self, item: T) -> None:
        """Adds an item; waits for room.

        Raises:
            Aborted: when the channel was aborted.
        """
        self.put_many([item])

    def put_many(self, items: Sequence[T]) -> None:
        """Adds items in their order, together, as soon as there is room for one: a thread that waited for each one's room
        would be woken as often.

        Raises:
            Aborted: when the channel was aborted.
        """
        with self._lock:
            while len(self._items) >= self._capacity and not self._aborted:
                self._emptied.wait()
            if self._aborted:
                raise Aborted
            self._items.extend(items)
            self._filled.notify(len(items))

    def get(self) -> T | None:
        """The next item; waits for one; None when the channel is closed and empty.

        Raises:
            Aborted: when the channel was aborted.
        """
        with self._lock:
            while not self._items and self._open > 0 and not self._aborted:
                self._filled.wait()
            if self._aborted:
                raise Aborted
            if not self._items:
                return None
            self._emptied.notify()
            return self._items.popleft()

    def close(self) -> None:
        """One producer is done."""
        with self._lock:
            self._open -= 1
            if self._open <= 0:
                self._filled.notify_all()

    def abort(self) -> None:
        """Wakes everyone who waits; what is queued is dropped."""
        with self._lock:
            self._aborted = True
            self._items.clear()
            self._filled.notify_all()
            self._emptied.notify_all()
