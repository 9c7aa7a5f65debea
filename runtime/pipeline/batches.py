"""Batches that fill up while others are in the session: where decoding leaves its windows and the session finds them.

A window is copied once, by the thread that has just decoded it and has it in its core's cache, to where the session reads it.
The groups that were used last are used first, so that a run touches no more memory than it needs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from threading import Lock
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.channel import Aborted
from dlcv.runtime.errors import OutOfMemory
from dlcv.runtime.waiting import Waiting

T = TypeVar("T")


@dataclass
class Batch(Generic[T]):
    """Windows that go through the session together.

    Attributes:
        images: uint8 (n, H, W, 3), RGB, C-contiguous; another batch's as soon as this one is released.
        tags: what was put beside each window.
        group: where it lies in `Batches`; None for one that lies elsewhere.
    """

    images: NDArray[np.uint8]
    tags: list[T]
    group: int | None = None

    def keep(self, positions: Sequence[int]) -> None:
        """Leaves the others out.

        Args:
            positions: ascending.
        """
        for new, old in enumerate(positions):
            if new != old:
                self.images[new] = self.images[old]
        self.images, self.tags = self.images[: len(positions)], [self.tags[k] for k in positions]


class _Group:
    def __init__(self, number: int, size: int) -> None:
        self.number, self.taken, self.filled = number, 0, 0
        self.tags: list[Any] = [None] * size


class Batches(Generic[T]):
    """A bounded number of batches on their way from several threads to several others.

    Args:
        size: windows of a batch; the last batch may have fewer.
        groups: batches that there is room for: those being filled, waiting and in the session together.
        size_hw: height and width of a window, in pixels.
        producers: how many times `close` is called before the last batch counts as complete.

    Raises:
        OutOfMemory: when there is no memory for them.
    """

    def __init__(self, size: int, groups: int, size_hw: tuple[int, int], producers: int) -> None:
        try:
            self._images = np.empty((groups, size, *size_hw, 3), np.uint8)
        except (MemoryError, ValueError) as error:  # numpy's word for more bytes than there are addresses is ValueError
            raise OutOfMemory(f"no memory for a batch of {size}; pass a smaller --batch") from error
        self._size, self._open = size, producers
        self._free = list(range(groups))
        self._group: _Group | None = None
        self._ready: deque[Batch[T]] = deque()
        self._aborted = False
        self._lock = Lock()
        self._freed, self._filled = Waiting(self._lock), Waiting(self._lock)

    def put(self, window: NDArray[np.uint8], tag: T) -> None:
        """Copies a window into the batch that is being filled; waits for room.

        Args:
            window: uint8 (H, W, 3), RGB.
            tag: comes back beside it.

        Raises:
            Aborted: when `abort` was called.
        """
        group, position = self._place()
        self._images[group.number, position] = window
        with self._lock:
            group.tags[position] = tag
            group.filled += 1
            if group.filled == self._size:
                self._complete(group)

    def _place(self) -> tuple[_Group, int]:
        with self._lock:
            while self._group is None and not self._free and not self._aborted:
                self._freed.wait()
            if self._aborted:
                raise Aborted
            if self._group is None:
                self._group = _Group(heappop(self._free), self._size)
            group, position = self._group, self._group.taken
            group.taken += 1
            if group.taken == self._size:
                self._group = None
            self._freed.notify()  # another may wait for room in what was opened here
            return group, position

    def _complete(self, group: _Group) -> None:
        images, tags = self._images[group.number, : group.filled], group.tags[: group.filled]
        self._ready.append(Batch(images, tags, group.number))
        self._filled.notify()

    def get(self) -> Batch[T] | None:
        """The next batch; waits for one; None when all are given out and no more will come.

        Raises:
            Aborted: when `abort` was called.
        """
        with self._lock:
            while not self._ready and self._open > 0 and not self._aborted:
                self._filled.wait()
            if self._aborted:
                raise Aborted
            return self._ready.popleft() if self._ready else None

    def release(self, batch: Batch[T]) -> None:
        """Makes room: the batch is not looked at any more."""
        if batch.group is None:
            return
        with self._lock:
            heappush(self._free, batch.group)
            self._freed.notify()

    def close(self) -> None:
        """One producer is done."""
        with self._lock:
            self._open -= 1
            if self._open <= 0:
                if self._group is not None:
                    self._complete(self._group)
                    self._group = None
                self._filled.notify_all()

    def abort(self) -> None:
        """Wakes everyone who waits; what is there is dropped."""
        with self._lock:
            self._aborted = True
            self._ready.clear()
            self._filled.notify_all()
            self._freed.notify_all()
