"""Several pieces of work at the same time: in order, no more threads than asked for, and the first failure's reason."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from dlcv.runtime.outputs.at_once import at_once


@pytest.mark.parametrize("threads", [1, 2, 3, 9])
def test_what_each_returns_in_order(threads: int) -> None:
    running: set[int] = set()
    most: list[int] = []

    def work(number: int) -> Callable[[], int]:
        def run() -> int:
            running.add(number)
            most.append(len(running))
            time.sleep(0.02)
            running.discard(number)
            return number

        return run

    assert at_once([work(number) for number in range(6)], threads) == list(range(6))
    assert max(most) == min(threads, 6)
    assert at_once([], threads) == []


def test_the_first_failure_is_told_when_all_that_began_have_ended() -> None:
    begun, ended = threading.Event(), []

    def slow() -> None:
        begun.set()
        time.sleep(0.1)
        ended.append("slow")
        raise ValueError("first in order")

    def quick() -> None:
        begun.wait()
        raise KeyError("first in time")

    with pytest.raises(ValueError, match="first in order"):
        at_once([slow, quick, lambda: ended.append("never begun")], 2)
    assert ended == ["slow"]
