"""Sessions that raise or hang in the middle of a run and are opened anew: no tile is lost, none is blamed for another."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

import pytest

from dlcv.runtime.errors import EngineError, SessionLost
from dlcv.runtime.pipeline import hanging
from dlcv.runtime.pipeline.batching import MOST_IN_A_ROW
from dlcv.runtime.pipeline.outcome import Outcome
from dlcv.runtime.pipeline.pipeline import Pipeline
from dlcv.runtime.pipeline.settings import PipelineSettings
from dlcv.runtime.sessions.restarting import MOST_FRUITLESS, MOST_RESTARTS, RestartingSession

LIMIT_S = 1.0
"""No call that does not hang takes so long, whatever else the machine has to do; each that hangs costs it."""
TILES = range(1, 60)
POISON = (13, 14, 40)


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """Is set when the test is over, so that no thread is left."""
    event = threading.Event()
    yield event
    event.set()


class Sessions:
    """Opens stand-ins, each told its number, from 0."""

    def __init__(self, stand_in: Any, before: Callable[[int, Any], None], **how: Any) -> None:
        self._stand_in, self._before, self._how = stand_in, before, how
        self.opened: list[Any] = []

    def open(self) -> Any:
        number = len(self.opened)
        self.opened.append(self._stand_in.StandIn(before=lambda images: self._before(number, images), **self._how))
        return self.opened[-1]


def run(
    stand_in: Any,
    sessions: Sessions,
    batch: int,
    timeout_s: float | None = None,
    decoders: int = 2,
    tiles: range = TILES,
) -> tuple[dict[int, Outcome[int, Any]], RestartingSession]:
    outcomes: dict[int, Outcome[int, Any]] = {}

    def report(outcome: Outcome[int, Any]) -> None:
        assert outcome.tile not in outcomes, "a tile is told of once"
        outcomes[outcome.tile] = outcome

    session = RestartingSession(sessions.open(), sessions.open)
    settings = PipelineSettings(batch, decoders=decoders, writers=1, session_timeout_s=timeout_s)
    pipeline = Pipeline(session, stand_in.tile_image, lambda tile, mask: int(mask[0, 0]), settings)
    try:
        pipeline.run(tiles, report)
    except EngineError as error:
        error.outcomes = outcomes  # type: ignore[attr-defined]
        raise
    return outcomes, session


def check(outcomes: dict[int, Outcome[int, Any]], failed: dict[int, str]) -> None:
    assert sorted(outcomes) == list(TILES)
    assert {tile: str(outcome.error) for tile, outcome in outcomes.items() if outcome.error} == failed
    assert all(outcome.result == tile for tile, outcome in outcomes.items() if not outcome.error)


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("batch", [1, 4])
def test_a_session_that_breaks_once_is_opened_anew_and_no_tile_is_lost(stand_in: Any, batch: int, lanes: int) -> None:
    calls, lock = [0], threading.Lock()

    def breaks_at_the_sixth(number: int, images: Any) -> None:
        with lock:
            calls[0] += 1
            if number == 0 and calls[0] >= 6:
                raise EngineError("the device was lost")

    sessions = Sessions(stand_in, breaks_at_the_sixth, parallel=lanes)
    outcomes, session = run(stand_in, sessions, batch)
    check(outcomes, {})
    assert len(sessions.opened) == 2
    assert session.notices == ["the session was restarted once: the device was lost"]
    assert sessions.opened[0]._closed


def breaks_on(poison: Collection[int]) -> Callable[[int, Any], None]:
    """As an illegal memory access does on a GPU: after it every call fails until the engine is opened anew."""
    broken: set[int] = set()

    def before(number: int, images: Any) -> None:
        time.sleep(0.001)
        if set(images[:, 0, 0, 0].tolist()) & set(poison):
            broken.add(number)
        if number in broken:
            raise EngineError("an illegal memory access")

    return before


ILLEGAL = "the engine fails on this tile: an illegal memory access"


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("batch", [1, 4])
def test_a_tile_that_breaks_every_session_is_put_aside_and_no_other(stand_in: Any, batch: int, lanes: int) -> None:
    sessions = Sessions(stand_in, breaks_on(POISON), parallel=lanes)
    outcomes, session = run(stand_in, sessions, batch, decoders=1)
    check(outcomes, dict.fromkeys(POISON, ILLEGAL))
    assert session.generation <= MOST_RESTARTS, "three a tile"
    assert session.notices == [f"the session was restarted {session.generation} times: an illegal memory access"]


@pytest.mark.parametrize("place", [1, 17, 32])
@pytest.mark.parametrize("batch", [1, 4, 32])
def test_it_costs_no_more_the_larger_its_batch(stand_in: Any, batch: int, place: int) -> None:
    outcomes, session = run(stand_in, Sessions(stand_in, breaks_on({place})), batch, decoders=1)
    check(outcomes, {place: ILLEGAL})
    assert 2 <= session.generation <= 3, "in its batch, alone, and once more in a session known to answer"


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("batch", [1, 8])
def test_any_number_of_them_is_put_aside(stand_in: Any, batch: int, lanes: int) -> None:
    poison = {3, 4, 5, 20, 21, 40, 59}
    outcomes, session = run(stand_in, Sessions(stand_in, breaks_on(poison), parallel=lanes), batch)
    check(outcomes, dict.fromkeys(poison, ILLEGAL))
    assert session.generation > MOST_RESTARTS, "those that a tile is to blame for do not count"


def test_a_session_that_is_dead_for_good_ends_the_run_and_blames_no_tile(stand_in: Any) -> None:
    calls, lock = [0], threading.Lock()

    def dies(number: int, images: Any) -> None:
        with lock:
            calls[0] += 1
            if calls[0] > 9:
                raise EngineError("the device has gone")

    with pytest.raises(EngineError, match=r"^the device has gone") as caught:
        run(stand_in, Sessions(stand_in, dies), 2)
    assert all(outcome.error is None for outcome in caught.value.outcomes.values())  # type: ignore[attr-defined]
    assert calls[0] < 9 + 12


def test_a_session_that_fails_on_tile_after_tile_is_opened_anew_once(stand_in: Any) -> None:
    def spoilt(number: int, images: Any) -> None:
        if number == 0 and (images[:, 0, 0, 0] >= 1).any():  # all tiles: nothing but the harmless zeros goes through
            raise EngineError("cuDNN failed")

    sessions = Sessions(stand_in, spoilt)
    outcomes, session = run(stand_in, sessions, 1, decoders=1)
    failed = [tile for tile, outcome in outcomes.items() if outcome.error]
    assert len(failed) == MOST_IN_A_ROW - 1, "as many are put aside before it is suspected"
    assert session.notices == ["the session was restarted once: cuDNN failed"]


@pytest.mark.parametrize(("batch", "lanes"), [(1, 1), (4, 2)])
def test_a_session_that_hangs_once_is_left_and_its_batch_run_again(
    stand_in: Any, never: threading.Event, batch: int, lanes: int
) -> None:
    calls, lock = [0], threading.Lock()

    def hangs_at_the_third(number: int, images: Any) -> None:
        with lock:
            calls[0] += 1
            hang = calls[0] == 3
        if hang:
            never.wait(60)

    sessions = Sessions(stand_in, hangs_at_the_third, parallel=lanes)
    start = time.monotonic()
    outcomes, session = run(stand_in, sessions, batch, timeout_s=LIMIT_S)
    assert time.monotonic() - start < 20
    check(outcomes, {})
    assert f"it had not answered within {LIMIT_S:g} s on a batch of {batch}" in session.notices[0]
    assert not sessions.opened[0]._closed, "closing it would wait for the call that hangs"


@pytest.mark.parametrize("batch", [1, 4])
def test_a_tile_on_which_every_session_hangs_is_put_aside(stand_in: Any, never: threading.Event, batch: int) -> None:
    def hangs_on_poison(number: int, images: Any) -> None:
        if (images[:, 0, 0, 0] == 30).any():
            never.wait(60)

    outcomes, session = run(stand_in, Sessions(stand_in, hangs_on_poison), batch, timeout_s=LIMIT_S)
    words = f"the engine hangs on this tile: it has not answered within {LIMIT_S:g} s on a batch of 1, twice"
    check(outcomes, {30: words})
    assert session.generation >= 2


def test_a_device_that_hangs_for_good_ends_the_run_in_words(stand_in: Any, never: threading.Event) -> None:
    calls: list[int] = []

    def hangs(number: int, images: Any) -> None:
        calls.append(number)
        if len(calls) > 5:
            never.wait(60)

    start = time.monotonic()
    with pytest.raises(EngineError) as caught:
        run(stand_in, Sessions(stand_in, hangs), 1, timeout_s=LIMIT_S)
    assert time.monotonic() - start < 20
    assert str(caught.value).startswith(
        f"the session has not answered within {LIMIT_S:g} s on a batch of 1; its library"
    )
    assert re.search(rf"the session was restarted [{MOST_FRUITLESS}-9] times", str(caught.value))
    outcomes = caught.value.outcomes  # type: ignore[attr-defined]
    assert sum(outcome.error is not None for outcome in outcomes.values()) <= 1, "the one that it hung on twice"


class Patient(RestartingSession):
    """Nobody is late in it but who hangs, so that a limit may be short whatever else the machine has to do."""

    def __init__(self, first: Any, reopen: Callable[[], Any]) -> None:
        super().__init__(first, reopen)
        self.hangs: set[int] = set()

    @property
    def patient_from(self) -> float:
        return super().patient_from if self.generation in self.hangs else math.inf


def run_with_hangs(
    stand_in: Any, never: threading.Event, batch: int, tiles: Collection[int], hangs: Callable[[Any], bool]
) -> tuple[dict[int, str], Patient, str]:
    """What was put aside and why, the session, and in which words the run ended, if it did."""

    def before(number: int, images: Any) -> None:
        if hangs(images[:, 0, 0, 0]):
            session.hangs.add(number)
            never.wait(60)

    sessions = Sessions(stand_in, before)
    session, outcomes = Patient(sessions.open(), sessions.open), list[Outcome[int, Any]]()
    settings = PipelineSettings(batch, session_timeout_s=0.04)
    pipeline = Pipeline(session, stand_in.tile_image, lambda tile, mask: int(mask[0, 0]), settings)
    words = ""
    try:
        pipeline.run(tiles, outcomes.append)
    except EngineError as error:
        words = str(error)
    assert words or sorted(outcome.tile for outcome in outcomes) == sorted(tiles), "each tile is told of once"
    assert all(outcome.result == outcome.tile for outcome in outcomes if not outcome.error)
    return {outcome.tile: str(outcome.error) for outcome in outcomes if outcome.error}, session, words


@pytest.mark.parametrize("batch", [1, 4])
def test_any_number_of_tiles_on_which_it_hangs_is_put_aside(stand_in: Any, never: threading.Event, batch: int) -> None:
    poison = {3, 4, 5, 6, 20, 21, 40, 59}
    failed, session, words = run_with_hangs(
        stand_in, never, batch, TILES, lambda reds: bool(poison & set(reds.tolist()))
    )
    assert words == ""
    assert failed == dict.fromkeys(
        poison, "the engine hangs on this tile: it has not answered within 0.04 s on a batch of 1, twice"
    )
    assert session.generation > MOST_RESTARTS, "those that a tile is to blame for do not count"


def test_a_session_that_hangs_on_everything_ends_the_run_and_blames_no_tile(
    stand_in: Any, never: threading.Event
) -> None:
    calls: list[int] = []

    def from_the_fifth(reds: Any) -> bool:
        calls.append(len(reds))
        return len(calls) > 5

    failed, session, words = run_with_hangs(stand_in, never, 1, TILES, from_the_fifth)
    assert failed == {}
    assert words.startswith("the session has not answered within 0.04 s on a batch of 1; its library or its device")
    assert session.generation == MOST_FRUITLESS


def test_one_that_hangs_on_every_tile_but_not_on_the_harmless_ends_the_run(
    stand_in: Any, never: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hanging, "MOST_HUNG", 4)
    failed, session, words = run_with_hangs(stand_in, never, 1, TILES, lambda reds: bool(reds.any()))
    assert len(failed) == 4
    assert words.startswith("5 tiles hang: the session has not answered within 0.04 s on a batch of 1; its library")
    assert 10 <= session.generation <= 12, "two a tile, and one of each that another thread had begun with"


def test_an_engine_that_has_gone_ends_the_run_in_words(stand_in: Any) -> None:
    def open_once(number: int, images: Any) -> None:
        raise EngineError("the device was lost")

    sessions = Sessions(stand_in, open_once)

    def refuse() -> Any:
        raise EngineError("no such file")

    session = RestartingSession(sessions.open(), refuse)
    pipeline: Pipeline[int, int] = Pipeline(session, stand_in.tile_image, lambda tile, mask: tile, PipelineSettings(4))
    outcomes: list[Outcome[int, int]] = []
    with pytest.raises(
        SessionLost, match=r"the session broke \(the device was lost\) and cannot be opened anew: no such"
    ):
        pipeline.run(TILES, outcomes.append)
    assert outcomes == []
