"""A file that is closed while a thread is inside it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from dlcv.runtime.errors import TileError
from dlcv.runtime.raster.last_out import LastOut


def started(body: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    return thread


def test_whoever_is_inside_closes_when_it_leaves() -> None:
    closed: list[int] = []
    inside, leave = threading.Event(), threading.Event()
    file = LastOut(lambda: closed.append(threading.get_ident()))

    def use() -> None:
        with file:
            inside.set()
            assert leave.wait(60)

    user = started(use)
    assert inside.wait(60)
    file.end()
    assert not closed, "a thread is inside"
    leave.set()
    user.join(60)
    assert closed == [user.ident]
    with pytest.raises(TileError, match="the run of this image has ended"), file:
        pass


def test_nobody_inside_is_closed_at_once() -> None:
    closed: list[bool] = []
    file = LastOut(lambda: closed.append(True))
    with file:
        assert not closed
    file.end()
    assert closed
    file.end()  # as a mask's strips that are thrown away when they are whole already


def test_those_that_wait_behind_one_that_hangs_are_sent_away() -> None:
    inside, never = threading.Event(), threading.Event()
    file = LastOut(lambda: None)
    sent_away: list[str] = []

    def hang() -> None:
        with file:
            inside.set()
            never.wait(600)

    def wait() -> None:
        try:
            with file:
                pass
        except TileError as error:
            sent_away.append(str(error))

    started(hang)
    assert inside.wait(60)
    waiting = [started(wait) for _ in range(3)]
    file.end()
    for thread in waiting:
        thread.join(60)
    alive = [thread for thread in waiting if thread.is_alive()]
    never.set()
    assert not alive, "they wait as long as the one that hangs"
    assert sent_away == ["the run of this image has ended"] * 3
