"""Items read in threads ahead of whoever takes them, in their order; memory stays bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

S = TypeVar("S")
R = TypeVar("R")


@contextmanager
def reading_ahead(items: Iterable[S], read: Callable[[S], R], threads: int) -> Iterator[Iterator[tuple[S, R]]]:
    """Each item with what `read` made of it; what nobody took is not read once `with` is left.

    Args:
        items: taken one by one as there is room.
        read: called in the threads; what it raises is raised where its item would come.
        threads: that read; about twice as many items wait to be taken.
    """
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(threads, "dlcv-stream")
    try:
        yield _in_order(items, read, 2 * threads, pool)
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(items: Iterable[S], read: Callable[[S], R], most: int, pool: ThreadPoolExecutor) -> Iterator[tuple[S, R]]:
    waiting: deque[tuple[S, Future[R]]] = deque()
    for item in items:
        waiting.append((item, pool.submit(read, item)))
        if len(waiting) > most:
            first, future = waiting.popleft()
            yield first, future.result()
    while waiting:
        first, future = waiting.popleft()
        yield first, future.result()
