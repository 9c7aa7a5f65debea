"""Messages from many threads to one that is woken for a bundle."""

from __future__ import annotations

import threading
import time

from dlcv.runtime.pipeline.outbox import BUNDLE, Outbox

LONG_S = 30.0


def _reader(box: Outbox[int], patience_s: float) -> tuple[threading.Thread, list[int | None]]:
    got: list[int | None] = []
    thread = threading.Thread(target=lambda: got.append(box.get(patience_s)), daemon=True)
    thread.start()
    time.sleep(0.05)
    return thread, got


def test_messages_come_in_their_order_and_none_is_lost() -> None:
    box: Outbox[tuple[int, int]] = Outbox(50)

    def put(writer: int) -> None:
        for number in range(500):
            box.put((writer, number))
        box.put_now((writer, 500))

    threads = [threading.Thread(target=put, args=(writer,), daemon=True) for writer in range(4)]
    for thread in threads:
        thread.start()
    got: list[tuple[int, int]] = []
    until = time.monotonic() + LONG_S
    while len(got) < 4 * 501:
        assert time.monotonic() < until
        if (message := box.get()) is not None:
            got.append(message)
    assert [[n for w, n in got if w == writer] for writer in range(4)] == [list(range(501))] * 4
    assert box.get(0) is None


def test_a_lone_message_does_not_wake_the_reader_but_is_seen_in_time() -> None:
    box: Outbox[int] = Outbox(100)
    thread, got = _reader(box, LONG_S)
    for number in range(BUNDLE - 1):
        box.put(number)
    time.sleep(0.1)
    assert got == [], "a bundle is not full"
    box.put(BUNDLE)
    thread.join(10)
    assert got == [0]
    lone: Outbox[int] = Outbox(100)
    lone.put(7)
    start = time.monotonic()
    assert lone.get(0.05) == 7
    assert time.monotonic() - start >= 0.04


def test_what_is_urgent_wakes_the_reader() -> None:
    box: Outbox[int] = Outbox(100)
    thread, got = _reader(box, LONG_S)
    box.put_now(1)
    thread.join(10)
    assert got == [1]


def test_writers_wait_for_room_until_it_is_opened_up() -> None:
    box: Outbox[int] = Outbox(2)
    box.put(0)
    box.put(1)
    waiting = [threading.Thread(target=box.put, args=(number,), daemon=True) for number in (2, 3)]
    for thread in waiting:
        thread.start()
    time.sleep(0.05)
    assert all(thread.is_alive() for thread in waiting)
    assert box.get() == 0
    time.sleep(0.1)
    assert sum(thread.is_alive() for thread in waiting) == 1, "room for one, so one has gone on"
    box.open_up()
    for thread in waiting:
        thread.join(10)
    assert not any(thread.is_alive() for thread in waiting)
    assert sorted(box.get(0) or 0 for _ in range(3)) == [1, 2, 3]
