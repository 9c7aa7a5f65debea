"""Tiles as decoders take them, one by one; one that is read may turn out to be many, which are taken next, or to need no session."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Any, Generic, TypeVar

from dlcv.runtime.waiting import Waiting

T = TypeVar("T")


@dataclass(frozen=True)
class More(Generic[T]):
    """What reading gives of a tile that is run as many, such as the windows of a large image."""

    tiles: Iterator[T]


@dataclass(frozen=True)
class Known:
    """What reading gives of a tile about which the session is not asked: `finish` is given this answer."""

    answer: Any


class Feed(Generic[T]):
    """Gives tiles to several threads. Whoever takes one says `done` when it was read, or somebody else does for them.

    Args:
        tiles: asked by one thread at a time, and only when there is room.
    """

    def __init__(self, tiles: Iterable[T]) -> None:
        self._tiles: Iterator[T] = iter(tiles)
        self._opened: deque[Iterator[T]] = deque()
        self._dry = self._stopped = False
        self._being_read = 0
        self._taking, self._lock = Lock(), Lock()  # `done` never waits for an iterator that takes its time
        self._changed = Waiting(self._lock)

    def take(self) -> T | None:
        """The next tile; waits while none is left but one is being read that may turn out to be many. None: no more will come."""
        with self._taking:
            while (source := self._source()) is not None:
                tile = next(source, None)
                if tile is not None:
                    return tile
                self._exhausted(source)
            return None

    def done(self, more: Iterator[T] | None = None) -> None:
        """A tile that was taken is read, or was given up.

        Args:
            more: what it turned out to be.
        """
        with self._lock:
            self._being_read -= 1
            if more is not None:
                self._opened.append(more)
            self._changed.notify_all()

    def stop(self) -> None:
        """Nothing is given any more."""
        with self._lock:
            self._stopped = True
            self._changed.notify_all()

    def _source(self) -> Iterator[T] | None:
        """Where the next one comes from, counted as being read; tiles that were opened are ended one after the other."""
        with self._lock:
            while not self._stopped:
                if self._opened or not self._dry:
                    self._being_read += 1
                    return self._opened[0] if self._opened else self._tiles
                if not self._being_read:
                    return None
                self._changed.wait()
            return None

    def _exhausted(self, source: Iterator[T]) -> None:
        with self._lock:
            self._being_read -= 1
            if source is self._tiles:
                self._dry = True
            else:
                self._opened.popleft()
