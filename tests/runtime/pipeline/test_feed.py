"""Tiles that turn out to be many: taken next, waited for, and by nobody who was told to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from dlcv.runtime.pipeline.feed import Feed, Known, More
from dlcv.runtime.pipeline.outcome import Outcome
from dlcv.runtime.pipeline.pipeline import Pipeline
from dlcv.runtime.pipeline.settings import PipelineSettings

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


@pytest.mark.parametrize("decoders", [1, 3])
def test_in_a_pipeline(stand_in: Any, decoders: int) -> None:
    """A tile that is run as many has no outcome of its own, and one whose answer is known does not go to the session."""
    finished: dict[int, Any] = {}
    outcomes: list[Outcome[int, None]] = []

    def read(tile: int) -> Any:
        if tile == 3:
            return More(iter([10, 4, 11]))
        return Known("known") if tile == 4 else stand_in.tile_image(tile)

    def finish(tile: int, answer: Any) -> None:
        finished[tile] = answer if isinstance(answer, str) else int(answer[0, 0])

    session = stand_in.StandIn()
    Pipeline(session, read, finish, PipelineSettings(2, decoders=decoders)).run([1, 2, 3], outcomes.append)
    assert finished == {1: 1, 2: 2, 10: 10, 4: "known", 11: 11}
    assert sorted(outcome.tile for outcome in outcomes if outcome.error is None) == [1, 2, 4, 10, 11]
    assert session.batches == [2, 2]
