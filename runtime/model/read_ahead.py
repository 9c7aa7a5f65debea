"""Items read in threads ahead of whoever takes them, in their order; memory stays bounded, and one that hangs holds nobody up."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event
from typing import Generic, TypeVar

from dlcv.runtime.errors import TileError
from dlcv.runtime.pipeline.crew import Crew
from dlcv.runtime.pipeline.hanging import HungReads
from dlcv.runtime.pipeline.workers import Worker

S = TypeVar("S")
R = TypeVar("R")


@contextmanager
def reading_ahead(
    items: Iterable[S], read: Callable[[S], R], threads: int, ahead: int, limit_s: float | None
) -> Iterator[Iterator[tuple[S, R | TileError]]]:
    """Each item with what `read` made of it; what nobody took is not read once `with` is left.

    Args:
        items: taken one by one as there is room.
        read: called in the threads; what it raises is raised where its item would come.
        threads: that read.
        ahead: so many more items are asked for before one is given; 0 gives each before the next is asked for.
        limit_s: seconds after which the reading of an item is given up: a TileError comes in its place, and a DatasetError is raised when
            too many hang; None waits for ever.
    """
    reader = _Reader(read, threads, limit_s)
    try:
        yield reader.in_order(items, ahead)
    finally:
        reader.end(threads)


class _Asked(Generic[S, R]):
    """An item, and what was made of it once `there` is set."""

    def __init__(self, item: S) -> None:
        self.item, self.there = item, Event()
        self._found: list[R | TileError] = []
        self._raised: BaseException | None = None

    def settle(self, found: R | TileError) -> None:
        self._found.append(found)
        self.there.set()

    def fail(self, raised: BaseException) -> None:
        self._raised = raised
        self.there.set()

    def result(self) -> R | TileError:
        if self._raised is not None:
            raise self._raised
        return self._found[0]


class _Reader(Generic[S, R]):
    """Threads that read what stands in a queue."""

    def __init__(self, read: Callable[[S], R], threads: int, limit_s: float | None) -> None:
        self._read, self._hung = read, HungReads(limit_s, "give a longer tile_timeout_s")
        self._queue: SimpleQueue[_Asked[S, R] | None] = SimpleQueue()
        self._crew = Crew(lambda error: None, {"decode": limit_s})
        self._crew.hire("decode", self._read_on, threads)
        self._crew.start()

    def in_order(self, items: Iterable[S], most: int) -> Iterator[tuple[S, R | TileError]]:
        waiting: deque[_Asked[S, R]] = deque()
        for item in items:
            waiting.append(_Asked(item))
            self._queue.put(waiting[-1])
            if len(waiting) > most:
                yield self._first(waiting)
        while waiting:
            yield self._first(waiting)

    def end(self, threads: int) -> None:
        """No item is begun any more; those that are being read are waited for, but not for long."""
        with suppress(Empty):
            while True:
                self._queue.get_nowait()
        for _ in range(threads):
            self._queue.put(None)
        self._crew.join()

    def _first(self, waiting: deque[_Asked[S, R]]) -> tuple[S, R | TileError]:
        first = waiting.popleft()
        while not first.there.wait(self._crew.look_every_s):
            for worker, asked in self._crew.late():
                asked.settle(self._hung.error())
                self._hung.count(asked)
                self._crew.replace(worker, self._read_on)
        return first.item, first.result()

    def _read_on(self, worker: Worker) -> None:
        while (asked := self._queue.get()) is not None:
            settle: Callable[[], None]
            with worker.at(asked):
                try:
                    settle = partial(asked.settle, self._read(asked.item))
                except BaseException as error:
                    settle = partial(asked.fail, error)
            settle()
