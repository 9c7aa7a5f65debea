"""A session that is opened anew: the same contract before and after, bounded, and nothing freed under a running call."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from dlcv.runtime.errors import EngineError, SessionLost
from dlcv.runtime.sessions import restarting
from dlcv.runtime.sessions.restarting import MOST_FRUITLESS, RestartingSession

IMAGES = np.full((2, 8, 8, 3), 7, np.uint8)
BROKEN = EngineError("the device has gone")


class Opener:
    """Opens stand-ins and keeps them, in order."""

    def __init__(self, stand_in: Any, *sessions: Any) -> None:
        self._stand_in, self._given = stand_in, list(sessions)
        self.opened: list[Any] = []

    def __call__(self) -> Any:
        self.opened.append(self._given.pop(0) if self._given else self._stand_in.StandIn())
        return self.opened[-1]


@pytest.fixture
def never() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_it_is_the_session_beneath_until_it_is_restarted(stand_in: Any) -> None:
    opener = Opener(stand_in)
    first = stand_in.StandIn(parallel=3, device="cuda")
    first.max_batch, first.computes = 5, "fp16"
    with RestartingSession(first, opener) as session:
        assert (session.card, session.description, session.device) == (first.card, "stand-in", "cuda")
        assert (session.computes, session.max_batch, session.parallel) == ("fp16", 5, 3)
        assert session.run(IMAGES)["mask"].tolist() == np.full((2, 8, 8), 7).tolist()
        assert (session.generation, session.notices, opener.opened) == (0, [], [])
        with pytest.raises(EngineError, match="expected a batch of 1 to 5"):
            session.run(np.zeros((6, 8, 8, 3), np.uint8))
    assert first._closed
    with pytest.raises(EngineError, match="the session is closed"):
        session.run(IMAGES)


def test_it_is_opened_anew_by_the_next_call_and_says_so(stand_in: Any) -> None:
    opener, first = Opener(stand_in), stand_in.StandIn()
    session = RestartingSession(first, opener)
    session.restart(0, BROKEN)
    assert opener.opened == [], "nothing is opened before it is needed"
    assert (session.run(IMAGES)["mask"] == 7).all()
    assert first._closed
    assert first.batches == []
    assert len(opener.opened) == 1
    session.restart(0, BROKEN)
    assert session.generation == 1, "who saw the session fail that is gone already asks for nothing"
    assert session.notices == ["the session was restarted once: the device has gone"]
    session.restart(1, BROKEN, why="it had not answered")
    session.run(IMAGES)
    assert session.notices == ["the session was restarted 2 times: the device has gone; it had not answered"]
    assert session.notices_since(1) == ["the session was restarted once: it had not answered"], (
        "a block of tiles tells its own"
    )
    assert session.notices_since(2) == []
    session.close()
    assert opener.opened[1]._closed


def test_restarts_are_bounded(stand_in: Any) -> None:
    session = RestartingSession(stand_in.StandIn(), Opener(stand_in), most=4)
    for generation in range(4):
        session.restart(generation, BROKEN)
        session.run(IMAGES)
    with pytest.raises(
        EngineError, match=r"^the device has gone; the session was restarted 4 times: the device has gone$"
    ):
        session.restart(4, BROKEN)


def test_restarts_that_a_tile_is_to_blame_for_do_not_count(stand_in: Any) -> None:
    session = RestartingSession(stand_in.StandIn(), Opener(stand_in), most=4)
    for generation in range(7):
        session.restart(generation, BROKEN)
        session.run(IMAGES)
        if generation == 2:
            session.excuse()
    with pytest.raises(EngineError, match="restarted 7 times"):
        session.restart(7, BROKEN)


def test_restarts_that_do_not_help_are_given_up_sooner(stand_in: Any) -> None:
    dead = [stand_in.StandIn(dead_from=1) for _ in range(9)]
    session = RestartingSession(dead.pop(), Opener(stand_in, *dead))
    for generation in range(MOST_FRUITLESS):
        session.restart(generation, BROKEN)
        with pytest.raises(EngineError, match="has gone"):
            session.run(IMAGES)
    with pytest.raises(EngineError, match=rf"restarted {MOST_FRUITLESS} times"):
        session.restart(MOST_FRUITLESS, BROKEN)


def test_nobody_is_late_at_any_moment_of_an_opening(stand_in: Any) -> None:
    class Watched(RestartingSession):
        """Reads `patient_from` after each of its steps, as another thread may."""

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            if name in ("_opening_since", "_opened_at") and self.reasons:
                read.append(self.patient_from)

    read: list[float] = []
    session = Watched(stand_in.StandIn(), Opener(stand_in))
    began = time.monotonic()
    session.restart(0, BROKEN)
    session.run(IMAGES)
    assert len(read) == 3
    assert min(read) >= began, "a thread that waits for it would be left behind"


def test_an_engine_that_cannot_be_opened_again_ends_it_for_all(stand_in: Any) -> None:
    def refuse() -> Any:
        raise EngineError("no such file")

    session = RestartingSession(stand_in.StandIn(), refuse)
    session.restart(0, BROKEN)
    for _ in range(2):
        with pytest.raises(
            SessionLost, match=r"^the session broke \(the device has gone\) and cannot be opened anew: no such file$"
        ):
            session.run(IMAGES)
    with pytest.raises(SessionLost):
        session.restart(1, BROKEN)


def test_another_library_is_not_the_same_session(stand_in: Any) -> None:
    other = stand_in.StandIn()
    other.description = "another library"
    session = RestartingSession(stand_in.StandIn(), lambda: other)
    session.restart(0, BROKEN)
    with pytest.raises(SessionLost, match="it is another library now, and was stand-in"):
        session.run(IMAGES)
    assert other._closed


def test_nothing_is_closed_under_a_call(stand_in: Any) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def wait(images: Any) -> None:
        if not inside.is_set():
            inside.set()
            assert go_on.wait(20)

    first = stand_in.StandIn(parallel=2, before=wait)
    session = RestartingSession(first, Opener(stand_in))
    thread = threading.Thread(target=session.run, args=(IMAGES,))
    thread.start()
    assert inside.wait(20)
    session.restart(0, BROKEN)
    opening = threading.Thread(target=session.run, args=(IMAGES,))
    opening.start()
    deadline = time.monotonic() + 20
    while session.patient_from != float("inf"):  # nobody is late meanwhile
        assert time.monotonic() < deadline
        time.sleep(0.001)
    time.sleep(0.05)
    assert not first._closed, "a thread is inside"
    go_on.set()
    thread.join(20)
    opening.join(20)
    assert first._closed
    assert first.batches == [2]
    assert session.patient_from <= time.monotonic()


def test_what_hangs_is_left_and_never_closed(stand_in: Any, never: threading.Event) -> None:
    first = stand_in.StandIn(before=lambda images: never.wait(60))
    session = RestartingSession(first, Opener(stand_in))
    thread = threading.Thread(target=session.run, args=(IMAGES,))
    thread.start()
    while not first.batches:
        time.sleep(0.001)
    session.restart(0, BROKEN, hung=True)
    start = time.monotonic()
    assert (session.run(IMAGES)["mask"] == 7).all()
    assert time.monotonic() - start < 5, "the next session does not wait for it"
    session.close()
    never.set()
    thread.join(20)
    assert not first._closed


def test_an_opening_that_hangs_ends_it(stand_in: Any, never: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restarting, "OPENING_S", 0.05)

    def hang() -> Any:
        never.wait(60)
        raise EngineError("late")

    session = RestartingSession(stand_in.StandIn(), hang)
    session.restart(0, BROKEN)

    def run() -> None:
        with pytest.raises(SessionLost):
            session.run(IMAGES)

    thread = threading.Thread(target=run)
    thread.start()
    deadline = time.monotonic() + 20
    while session.patient_from in (0.0, float("inf")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(SessionLost, match=r"opening the engine anew takes longer than 0\.05 s"):
        session.restart(1, BROKEN, hung=True)
    never.set()
    thread.join(20)
