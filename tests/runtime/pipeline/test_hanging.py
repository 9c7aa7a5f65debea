"""A tile or a session that never comes back: the run goes on, or ends in words, and soon."""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from dlcv.runtime.errors import DatasetError, EngineError
from dlcv.runtime.pipeline.crew import LAST_READS_S
from dlcv.runtime.pipeline.hanging import MOST_HUNG
from dlcv.runtime.pipeline.outcome import Outcome
from dlcv.runtime.pipeline.pipeline import Pipeline
from dlcv.runtime.pipeline.settings import PipelineSettings

LIMIT_S = 1.0
"""No tile that does not hang takes so long, whatever else the machine has to do."""


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """Is set when the test is over, so that no thread is left."""
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize("decoders", [1, 3])
def test_a_tile_that_hangs_is_put_aside(stand_in: Any, never: threading.Event, decoders: int) -> None:
    hanging, noticed = {3, 11}, threading.Event()

    def tiles() -> Iterator[int]:
        """No end of them until it is noticed that one hangs: outcomes keep coming meanwhile."""
        deadline = time.monotonic() + 20
        for tile in itertools.count(1):
            if tile > 50 and noticed.is_set():
                return
            assert time.monotonic() < deadline, "it is noticed only when the others have ended"
            yield tile

    def read(tile: int) -> Any:
        if tile in hanging:
            never.wait(60)
        time.sleep(0.005)
        return stand_in.tile_image(tile % stand_in.BAD)

    def report(outcome: Outcome[int, int]) -> None:
        outcomes.append(outcome)
        if outcome.error and outcome.tile == 3:
            noticed.set()

    outcomes: list[Outcome[int, int]] = []
    pipeline: Pipeline[int, int] = Pipeline(
        stand_in.StandIn(),
        read,
        lambda tile, mask: tile,
        PipelineSettings(2, decoders=decoders, tile_timeout_s=LIMIT_S),
    )
    start = time.monotonic()
    pipeline.run(tiles(), report)
    assert time.monotonic() - start < 20
    assert sorted(outcome.tile for outcome in outcomes) == list(range(1, len(outcomes) + 1))
    failed = {outcome.tile: str(outcome.error) for outcome in outcomes if outcome.error}
    assert set(failed) == hanging
    assert set(failed.values()) == {
        f"reading it took longer than {LIMIT_S:g} s; look at its storage, or pass --tile-timeout"
    }
    assert not pipeline.times.share("decode") > 1.01


def test_a_tile_that_comes_late_counts_once(stand_in: Any) -> None:
    late, comes = threading.Event(), threading.Event()

    def read(tile: int) -> Any:
        if tile == 2:
            assert late.wait(20)
            comes.set()
        if tile == 40:  # so that the run has not ended when it comes
            assert comes.wait(20)
        return stand_in.tile_image(tile)

    def report(outcome: Outcome[int, None]) -> None:
        outcomes.append(outcome)
        if outcome.error:
            late.set()

    outcomes: list[Outcome[int, None]] = []
    settings = PipelineSettings(1, tile_timeout_s=LIMIT_S)
    Pipeline(stand_in.StandIn(), read, lambda tile, mask: None, settings).run(range(1, 41), report)
    assert sorted(outcome.tile for outcome in outcomes) == list(range(1, 41))
    assert [outcome.tile for outcome in outcomes if outcome.error] == [2]


def test_storage_that_has_gone_ends_the_run(stand_in: Any, never: threading.Event) -> None:
    settings = PipelineSettings(1, decoders=2, tile_timeout_s=0.04)
    outcomes: list[Outcome[int, Any]] = []

    def read(tile: int) -> Any:
        never.wait(60)

    with pytest.raises(DatasetError, match=rf"^{MOST_HUNG + 1} tiles hang: reading it took longer than 0.04 s; look"):
        Pipeline(stand_in.StandIn(), read, lambda tile, mask: None, settings).run(range(100_000), outcomes.append)
    assert MOST_HUNG <= len(outcomes) <= MOST_HUNG + 1


def test_a_session_that_hangs_ends_the_run_in_words(stand_in: Any, never: threading.Event) -> None:
    calls, lock = [0], threading.Lock()

    def hang(images: Any) -> None:
        with lock:
            calls[0] += 1
            hangs = calls[0] > 3
        if hangs:
            never.wait(60)

    outcomes: list[Outcome[int, int]] = []
    settings = PipelineSettings(2, session_timeout_s=LIMIT_S)
    start = time.monotonic()
    with stand_in.StandIn(parallel=2, before=hang) as session:
        with pytest.raises(EngineError) as caught:
            Pipeline(session, stand_in.tile_image, lambda tile, mask: tile, settings).run(range(1000), outcomes.append)
        assert session.hung, "the end of `with` must not wait for it"
    assert time.monotonic() - start < 20
    assert re.match(
        f"the session has not answered within {LIMIT_S:g} s on a batch of 2; its library", str(caught.value)
    )
    done = {outcome.tile for outcome in outcomes if outcome.error is None}
    assert len(done) == 6
    assert {tile ^ 1 for tile in done} == done, "three batches of two, whichever of them were first"


def test_a_run_that_is_stopped_does_not_wait_for_tiles_that_hang(stand_in: Any, never: threading.Event) -> None:
    hanging = threading.Barrier(5)

    def read(tile: int) -> Any:
        if 5 <= tile < 9:
            hanging.wait(20)
            never.wait(60)
        return stand_in.tile_image(tile)

    start = 0.0

    def stop(outcome: Outcome[int, None]) -> None:
        nonlocal start
        if not start:  # what was done by then is reported, too
            hanging.wait(20)
            start = time.monotonic()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Pipeline(stand_in.StandIn(), read, lambda tile, mask: None, PipelineSettings(1, decoders=5)).run(range(9), stop)
    assert time.monotonic() - start < 3 * LAST_READS_S, "four hang, and they are waited for together"
