"""A condition that is notified for nothing while nobody waits."""

from __future__ import annotations

import threading
import time

import pytest

from dlcv.runtime.waiting import Waiting


@pytest.mark.parametrize(("wake", "woken"), [(1, 1), (2, 2), ("all", 3)])
def test_so_many_are_woken(wake: int | str, woken: int) -> None:
    lock = threading.Lock()
    waiting = Waiting(lock)
    ended: list[int] = []

    def wait(number: int) -> None:
        with lock:
            waiting.wait()
            ended.append(number)

    threads = [threading.Thread(target=wait, args=(number,), daemon=True) for number in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    with lock:
        waiting.notify_all() if wake == "all" else waiting.notify(int(wake))
    time.sleep(0.2)
    assert len(ended) == woken
    with lock:
        waiting.notify_all()
    for thread in threads:
        thread.join(10)
    assert sorted(ended) == [0, 1, 2]


def test_a_notice_while_nobody_waits_is_no_notice_for_those_who_come() -> None:
    lock = threading.Lock()
    waiting = Waiting(lock)
    with lock:
        waiting.notify()
        start = time.monotonic()
        waiting.wait(0.1)
    assert time.monotonic() - start >= 0.09
