"""A tile or a session that never comes back: the run goes on, or ends in words, and soon."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from dlcv.runtime.errors import DatasetError, EngineError
from dlcv.runtime.pipeline.outcome import Outcome
from dlcv.runtime.pipeline.pipeline import LAST_DECODES_S, MOST_HUNG, Pipeline
from dlcv.runtime.pipeline.settings import PipelineSettings

LIMIT_S = 0.2


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """Is set when the test is over, so that no thread is left."""
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize("decoders", [1, 3])
def test_a_tile_that_hangs_is_put_aside(stand_in: Any, never: threading.Event, decoders: int) -> None:
    hanging = {3, 11}

    def read(tile: int) -> Any:
        if tile in hanging:
            never.wait(60)
        time.sleep(0.005)  # outcomes keep coming while others hang
        return stand_in.tile_image(tile)

    outcomes: list[Outcome[int, int]] = []
    pipeline: Pipeline[int, int] = Pipeline(
        stand_in.StandIn(),
        read,
        lambda tile, mask: tile,
        PipelineSettings(2, decoders=decoders, tile_timeout_s=LIMIT_S),
    )
    start = time.monotonic()
    pipeline.run(range(1, 150), outcomes.append)
    assert time.monotonic() - start < 20
    assert sorted(outcome.tile for outcome in outcomes) == list(range(1, 150))
    failed = {outcome.tile: str(outcome.error) for outcome in outcomes if outcome.error}
    assert set(failed) == hanging
    assert set(failed.values()) == {"reading it took longer than 0.2 s; look at its storage, or pass --tile-timeout"}
    assert not pipeline.times.share("decode") > 1.01
    if decoders > 1:
        order = [outcome.tile for outcome in outcomes]
        assert order.index(3) < 140, "it is noticed while others still come, not when they have ended"


def test_a_tile_that_comes_late_counts_once(stand_in: Any) -> None:
    def read(tile: int) -> Any:
        time.sleep(2 * LIMIT_S if tile == 2 else 0.001)
        return stand_in.tile_image(tile)

    outcomes: list[Outcome[int, int]] = []
    settings = PipelineSettings(1, tile_timeout_s=LIMIT_S)
    Pipeline(stand_in.StandIn(), read, lambda tile, mask: time.sleep(0.02), settings).run(range(1, 41), outcomes.append)
    assert sorted(outcome.tile for outcome in outcomes) == list(range(1, 41))
    assert [outcome.tile for outcome in outcomes if outcome.error] == [2]


def test_storage_that_has_gone_ends_the_run(stand_in: Any, never: threading.Event) -> None:
    settings = PipelineSettings(1, decoders=8, tile_timeout_s=0.04)
    outcomes: list[Outcome[int, Any]] = []

    def read(tile: int) -> Any:
        never.wait(60)

    with pytest.raises(DatasetError, match=rf"^{MOST_HUNG + 1} tiles hang: reading it took longer than 0.04 s; look"):
        Pipeline(stand_in.StandIn(), read, lambda tile, mask: None, settings).run(range(100_000), outcomes.append)
    assert MOST_HUNG <= len(outcomes) <= MOST_HUNG + 1


def test_a_session_that_hangs_ends_the_run_in_words(stand_in: Any, never: threading.Event) -> None:
    calls = []

    def hang(images: Any) -> None:
        calls.append(len(images))
        if len(calls) > 3:
            never.wait(60)

    outcomes: list[Outcome[int, int]] = []
    settings = PipelineSettings(2, session_timeout_s=LIMIT_S)
    start = time.monotonic()
    with stand_in.StandIn(parallel=2, before=hang) as session:
        with pytest.raises(EngineError) as caught:
            Pipeline(session, stand_in.tile_image, lambda tile, mask: tile, settings).run(range(1000), outcomes.append)
        assert session.hung, "the end of `with` must not wait for it"
    assert time.monotonic() - start < 5
    assert re.match("the session has not answered within 0.2 s on a batch of 2; its library", str(caught.value))
    assert sorted(outcome.tile for outcome in outcomes if outcome.error is None) == list(range(6))


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
    assert time.monotonic() - start < 3 * LAST_DECODES_S, "four hang, and they are waited for together"
