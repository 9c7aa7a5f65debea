"""Tiles that turn out to be many: taken next, waited for, and by nobody who was told to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from dlcv.runtime.pipeline.feed import Feed

T = TypeVar("T")


def in_a_thread(body: Callable[[], T]) -> Callable[[], T]:
    """Begins; what it gives, when it has ended."""
    found: list[T] = []
    thread = threading.Thread(target=lambda: found.append(body()), daemon=True)
    thread.start()

    def end() -> T:
        thread.join(60)
        assert found, "it waits for ever"
        return found[0]

    return end


def test_what_a_tile_turned_out_to_be_comes_next() -> None:
    feed = Feed(range(1, 4))
    assert [feed.take(), feed.take()] == [1, 2]
    feed.done(iter([10, 11]))
    feed.done(iter([20, 21]))
    assert [feed.take() for _ in range(5)] == [10, 11, 20, 21, 3], "one after the other"


def test_the_end_waits_for_what_is_being_read() -> None:
    feed = Feed([1])
    assert feed.take() == 1

    def take() -> int | None:
        tile = feed.take()
        if tile is not None:
            feed.done()
        return tile

    others = [in_a_thread(take) for _ in range(3)]
    feed.done(iter([5, 6]))
    assert sorted((other() for other in others), key=str) == [5, 6, None]


def test_nobody_waits_when_it_is_stopped() -> None:
    feed = Feed([1])
    assert feed.take() == 1
    others = [in_a_thread(feed.take) for _ in range(3)]
    feed.stop()
    assert [other() for other in others] == [None] * 3
    assert Feed[int]([]).take() is None
