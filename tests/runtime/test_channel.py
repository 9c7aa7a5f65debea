"""The bounded queue between threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from dlcv.runtime.channel import Aborted, Channel


def _in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_items_come_in_their_order_and_none_when_closed() -> None:
    channel: Channel[int] = Channel(3)
    for item in (1, 2, 3):
        channel.put(item)
    channel.close()
    assert [channel.get() for _ in range(5)] == [1, 2, 3, None, None]


def test_put_waits_for_room() -> None:
    channel: Channel[int] = Channel(2)
    sent: list[int] = []
    thread = _in_thread(lambda: [(channel.put(k), sent.append(k)) for k in range(4)])
    deadline = time.monotonic() + 20
    while len(sent) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    time.sleep(0.02)
    assert sent == [0, 1], "only so many as the channel holds"
    assert channel.get() == 0
    assert [channel.get() for _ in range(3)] == [1, 2, 3]
    thread.join(5)
    assert not thread.is_alive()


def test_it_is_closed_when_every_producer_has_closed() -> None:
    channel: Channel[str] = Channel(4, producers=2)
    channel.close()
    got: list[str | None] = []
    thread = _in_thread(lambda: got.extend([channel.get(), channel.get()]))
    time.sleep(0.02)
    assert got == [], "one producer is left, so the reader waits"
    channel.put("last")
    channel.close()
    thread.join(5)
    assert got == ["last", None]


@pytest.mark.parametrize("waits_in", ["put", "get"])
def test_abort_wakes_those_who_wait(waits_in: str) -> None:
    channel: Channel[int] = Channel(1)
    if waits_in == "put":
        channel.put(0)
    ended: list[str] = []

    def wait() -> None:
        try:
            channel.put(1) if waits_in == "put" else channel.get()
        except Aborted:
            ended.append("aborted")

    thread = _in_thread(wait)
    time.sleep(0.02)
    assert ended == []
    channel.abort()
    thread.join(5)
    assert ended == ["aborted"]
    with pytest.raises(Aborted):
        channel.get()
    with pytest.raises(Aborted):
        channel.put(2)


def test_nothing_is_lost_or_doubled_among_many_threads() -> None:
    channel: Channel[int] = Channel(3, producers=4)
    got: list[int] = []

    def produce(first: int) -> None:
        for item in range(first, first + 200):
            channel.put(item)
        channel.close()

    def consume() -> None:
        while (item := channel.get()) is not None:
            got.append(item)

    threads = [_in_thread(lambda k=k: produce(200 * k)) for k in range(4)] + [_in_thread(consume) for _ in range(3)]
    for thread in threads:
        thread.join(20)
    assert sorted(got) == list(range(800))


def test_many_are_put_in_their_order_as_there_is_room() -> None:
    channel: Channel[int] = Channel(2)
    thread = _in_thread(lambda: (channel.put_many(range(5)), channel.close()))
    assert [channel.get() for _ in range(6)] == [0, 1, 2, 3, 4, None]
    thread.join(5)
    assert not thread.is_alive()


def test_every_item_wakes_one_of_those_that_wait() -> None:
    channel: Channel[int] = Channel(8)
    got: list[int | None] = []
    threads = [_in_thread(lambda: got.append(channel.get())) for _ in range(3)]
    time.sleep(0.02)
    for item in range(3):
        channel.put(item)
    for thread in threads:
        thread.join(5)
    assert sorted(item for item in got if item is not None) == [0, 1, 2]


def test_what_is_put_together_comes_together_once_there_is_room_for_one() -> None:
    channel: Channel[int] = Channel(2)
    channel.put_many([0, 1, 2, 3])
    thread = _in_thread(lambda: channel.put_many([4, 5]))
    time.sleep(0.05)
    assert [channel.get(), channel.get()] == [0, 1]
    assert thread.is_alive(), "as many as it holds are still waiting"
    assert channel.get() == 2
    thread.join(5)
    assert not thread.is_alive()
    assert [channel.get() for _ in range(3)] == [3, 4, 5]
