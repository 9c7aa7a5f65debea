"""A bounded queue between threads that can be closed (no more will come) and aborted (stop now)."""

from __future__ import annotations

from collections import deque
from threading import Condition
from typing import Generic, TypeVar

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
        self._changed = Condition()
        self._aborted = False

    def put(self, item: T) -> None:
        """Adds an item; waits for room.

        Raises:
            Aborted: when the channel was aborted.
        """
        with self._changed:
            while len(self._items) >= self._capacity and not self._aborted:
                self._changed.wait()
            if self._aborted:
                raise Aborted
            self._items.append(item)
            self._changed.notify_all()

    def get(self) -> T | None:
        """The next item; waits for one; None when the channel is closed and empty.

        Raises:
            Aborted: when the channel was aborted.
        """
        with self._changed:
            while not self._items and self._open > 0 and not self._aborted:
                self._changed.wait()
            if self._aborted:
                raise Aborted
            if not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """One producer is done."""
        with self._changed:
            self._open -= 1
            self._changed.notify_all()

    def abort(self) -> None:
        """Wakes everyone who waits; what is queued is dropped."""
        with self._changed:
            self._aborted = True
            self._items.clear()
            self._changed.notify_all()
