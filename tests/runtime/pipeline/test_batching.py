"""Batches that break or do not fit: which tiles are put aside, how small batches become, when a session is given up."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dlcv.runtime.errors import EngineError, OutOfMemory
from dlcv.runtime.pipeline.batching import MOST_IN_A_ROW, BatchRunner
from dlcv.runtime.pipeline.outcome import Outcome
from dlcv.runtime.pipeline.pipeline import Pipeline
from dlcv.runtime.pipeline.settings import PipelineSettings

Outcomes = dict[int, Outcome[int, Any]]


def run_tiles(stand_in: Any, session: Any, tiles: Sequence[int], batch: int) -> tuple[Outcomes, Pipeline[int, Any]]:
    outcomes: Outcomes = {}
    settings = PipelineSettings(batch, decoders=1, writers=1)
    pipeline = Pipeline(session, stand_in.tile_image, lambda tile, mask: int(mask[0, 0]), settings)

    def report(outcome: Outcome[int, Any]) -> None:
        assert outcome.tile not in outcomes
        outcomes[outcome.tile] = outcome

    try:
        pipeline.run(tiles, report)
    except EngineError as error:
        error.outcomes = outcomes  # type: ignore[attr-defined]
        raise
    return outcomes, pipeline


@pytest.mark.parametrize("batch", [1, 2, 8])
@pytest.mark.parametrize("place", [0, 5, 19])
def test_a_tile_that_breaks_its_batch_is_put_aside(stand_in: Any, batch: int, place: int) -> None:
    tiles = [*range(1, place + 1), stand_in.BAD, *range(place + 1, 20)]
    outcomes, pipeline = run_tiles(stand_in, stand_in.StandIn(), tiles, batch)
    assert set(outcomes) == set(tiles)
    bad = outcomes.pop(stand_in.BAD)
    assert str(bad.error) == "the engine fails on this tile: an illegal memory access"
    assert all(outcome.result == tile for tile, outcome in outcomes.items()), "each tile has its own answer"
    assert pipeline.batch == batch, "no batch became smaller for good"
    assert pipeline.notices == []


def test_the_halving_takes_few_calls(stand_in: Any) -> None:
    session = stand_in.StandIn()
    run_tiles(stand_in, session, [1, 2, 3, 4, 5, stand_in.BAD, 7, 8], 8)
    assert session.batches == [8, 4, 4, 2, 1, 1, 1, 2], "halves, the tile alone, and an image known to be harmless"


def test_a_tile_of_several_windows_is_put_aside_once(stand_in: Any) -> None:
    outcomes: list[Outcome[int, Any]] = []

    def read(tile: int) -> Any:
        return np.full((8, 30, 3), tile, np.uint8)

    pipeline = Pipeline(stand_in.StandIn(), read, lambda tile, mask: mask.shape, PipelineSettings(4))
    pipeline.run([1, stand_in.BAD, 2], outcomes.append)
    assert {outcome.tile: outcome.result for outcome in outcomes} == {1: (8, 30), stand_in.BAD: None, 2: (8, 30)}
    assert len(outcomes) == 3


@pytest.mark.parametrize(("batch", "dead_from"), [(1, 1), (4, 1), (4, 6), (8, 2)])
def test_a_session_that_is_dead_ends_the_run_soon(stand_in: Any, batch: int, dead_from: int) -> None:
    session = stand_in.StandIn(dead_from=dead_from)
    with pytest.raises(EngineError, match=r"^the device has gone$") as caught:
        run_tiles(stand_in, session, list(range(1, 150)), batch)
    assert all(outcome.error is None for outcome in caught.value.outcomes.values()), (  # type: ignore[attr-defined]
        "no tile is blamed for it"
    )
    assert len(session.batches) <= dead_from + 2 * 5, (
        "halved down to a tile by the two that feed the session, then given up"
    )


def test_a_session_that_fails_on_all_but_the_harmless_is_given_up(stand_in: Any) -> None:
    session = stand_in.StandIn()
    bad = stand_in.tile_image(stand_in.BAD)
    pipeline: Pipeline[int, None] = Pipeline(session, lambda tile: bad, lambda tile, mask: None, PipelineSettings())
    with pytest.raises(EngineError, match="illegal memory access"):
        pipeline.run(range(1000), lambda outcome: None)
    assert len(session.batches) <= 3 * MOST_IN_A_ROW, (
        "each image and a harmless one, and what the other thread tries until it is stopped"
    )


def test_a_session_that_one_thread_gave_up_is_tried_by_no_other(stand_in: Any) -> None:
    both = threading.Barrier(2)

    def before(images: NDArray[np.uint8]) -> None:
        if not images.any():  # a harmless image, with which the first of them asks whether the session is alive
            return
        both.wait(30)

    session = stand_in.StandIn(parallel=2, dead_from=1, before=before)
    runner = BatchRunner(session, lambda outputs: outputs["mask"], 1, lambda line: None)
    image, said = stand_in.tile_image(1)[None], list[str]()

    def run() -> None:
        try:
            runner.run(image)
        except EngineError as error:
            said.append(str(error))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert said == ["the device has gone"] * 2
    assert session.batches == [1, 1, 1], "one image each, and one harmless image for both"
    run()  # a third one that comes later
    assert said == ["the device has gone"] * 3
    assert len(session.batches) == 3, "it is not called any more"


@pytest.mark.parametrize("fits", [1, 3, 5])
def test_a_batch_that_does_not_fit_is_halved_for_good(stand_in: Any, fits: int) -> None:
    session = stand_in.StandIn(fits=fits)
    outcomes, pipeline = run_tiles(stand_in, session, list(range(1, 60)), 8)
    assert all(outcome.result == tile for tile, outcome in outcomes.items())
    assert len(outcomes) == 59
    left = {1: 1, 3: 2, 5: 4}[fits]
    assert pipeline.batch == left
    assert pipeline.notices[0] == "out of memory on a batch of 8; going on with batches of 4"
    assert sum(count > fits for count in session.batches) <= 2 * 3, "by each of two threads, not again and again"
    assert max(session.batches[-10:]) == left


def test_one_batch_at_a_time_when_two_of_one_do_not_fit(stand_in: Any) -> None:
    session = stand_in.StandIn(parallel=3, fits_at_once=1, before=lambda images: time.sleep(0.002))
    outcomes, pipeline = run_tiles(stand_in, session, list(range(1, 60)), 1)
    assert all(outcome.result == tile for tile, outcome in outcomes.items())
    assert pipeline.notices[-1] == "out of memory on a batch of 1; going on with 1 in flight"
    assert len(session.batches) < 59 + 10


def test_no_memory_for_a_single_tile_ends_the_run(stand_in: Any) -> None:
    with pytest.raises(OutOfMemory, match="no memory for 1"):
        run_tiles(stand_in, stand_in.StandIn(fits=0), [1, 2, 3], 4)


def test_numpys_own_lack_of_memory_counts(stand_in: Any) -> None:
    session, calls = stand_in.StandIn(), []

    def answers(outputs: dict[str, Any]) -> Any:
        calls.append(len(outputs["mask"]))
        if len(outputs["mask"]) > 2:
            raise MemoryError
        return outputs["mask"]

    pipeline: Pipeline[int, int] = Pipeline(
        session, stand_in.tile_image, lambda tile, mask: tile, PipelineSettings(4), answers
    )
    outcomes: list[Outcome[int, int]] = []
    pipeline.run(range(1, 9), outcomes.append)
    assert sorted(outcome.tile for outcome in outcomes if outcome.error is None) == list(range(1, 9))
    assert pipeline.batch == 2


def test_a_gpu_sees_one_size_of_batch(stand_in: Any) -> None:
    session = stand_in.StandIn(device="cuda")
    outcomes, _ = run_tiles(stand_in, session, list(range(1, 20)), 8)
    assert session.batches == [8, 8, 8]
    assert {tile: outcome.result for tile, outcome in outcomes.items()} == {tile: tile for tile in range(1, 20)}
    on_cpu = stand_in.StandIn()
    run_tiles(stand_in, on_cpu, list(range(1, 20)), 8)
    assert sorted(on_cpu.batches) == [3, 8, 8], "a CPU is not made to work on what nobody asked for"


def test_threads_end(stand_in: Any) -> None:
    before = set(threading.enumerate())
    run_tiles(stand_in, stand_in.StandIn(parallel=2), range(1, 9), 2)
    assert not set(threading.enumerate()) - before


def test_ctrl_c_in_one_that_waits_to_be_alone_lets_the_others_in(stand_in: Any) -> None:
    """A bad image is judged alone; while another thread is inside, the one that judges it waits, and may be interrupted there."""
    good_is_in, go_on = threading.Event(), threading.Event()

    def before(images: Any) -> None:
        if (images == 1).all() and not go_on.is_set():
            good_is_in.set()
            assert go_on.wait(60)

    runner = BatchRunner(stand_in.StandIn(parallel=2, before=before), lambda outputs: outputs["mask"], 1, print)
    changed, waits = runner._gate._changed, runner._gate._changed.wait

    def interrupted(timeout: float | None = None) -> bool:
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        return waits(timeout)

    changed.wait = interrupted  # type: ignore[method-assign]
    answered: list[Any] = []
    other = threading.Thread(target=lambda: answered.extend(runner.run(stand_in.tile_image(1)[None])), daemon=True)
    other.start()
    assert good_is_in.wait(60)
    with pytest.raises(KeyboardInterrupt):
        runner.run(stand_in.tile_image(stand_in.BAD)[None])
    go_on.set()
    third = threading.Thread(target=lambda: answered.extend(runner.run(stand_in.tile_image(1)[None])), daemon=True)
    third.start()
    for thread in (other, third):
        thread.join(20)
        assert not thread.is_alive(), "it waits for who is alone, and nobody is"
    assert len(answered) == 2


def test_a_tile_of_many_windows_that_fails_is_tried_no_further(stand_in: Any) -> None:
    """Its other windows would count as so many failures in a row, and end the run."""
    session = stand_in.StandIn()

    def read(tile: int) -> Any:
        return np.full((8, 800, 3), stand_in.BAD, np.uint8) if tile == 7 else stand_in.tile_image(tile)

    outcomes: list[Outcome[int, int]] = []
    settings = PipelineSettings(4, overlap=0.0)
    Pipeline(session, read, lambda tile, mask: int(mask[0, 0]), settings).run(range(40), outcomes.append)
    failed = {outcome.tile: str(outcome.error) for outcome in outcomes if outcome.error}
    assert failed == {7: "the engine fails on this tile: an illegal memory access"}
    assert {outcome.tile: outcome.result for outcome in outcomes if not outcome.error} == {
        k: k for k in range(40) if k != 7
    }


@pytest.mark.parametrize("batch", [1, 32, 100])
def test_a_tile_of_many_windows_in_one_batch_is_one_failure(stand_in: Any, batch: int) -> None:
    session, rest = stand_in.StandIn(), 2 * MOST_IN_A_ROW

    def read(tile: int) -> Any:
        return np.full((8, 640, 3), stand_in.BAD, np.uint8) if tile == 7 else stand_in.tile_image(tile)

    outcomes: list[Outcome[int, int]] = []
    settings = PipelineSettings(batch, overlap=0.0)
    Pipeline(session, read, lambda tile, mask: int(mask[0, 0]), settings).run(range(rest), outcomes.append)
    assert {outcome.tile: str(outcome.error) for outcome in outcomes if outcome.error} == {
        7: "the engine fails on this tile: an illegal memory access"
    }
    assert sorted(outcome.tile for outcome in outcomes) == list(range(rest))
    assert sum(session.batches) < 640 / 8 + 5 * (batch + rest), "its 80 windows are not tried one by one"


def test_parts_of_one_that_fail_count_as_one_and_of_many_as_many(stand_in: Any) -> None:
    bad, count = stand_in.tile_image(stand_in.BAD)[None], 2 * MOST_IN_A_ROW

    def run(owners: Sequence[Any] | None, calls: int) -> list[str]:
        runner = BatchRunner(stand_in.StandIn(), lambda outputs: outputs["mask"], 64, print)
        images = bad.repeat(count // calls, axis=0)
        return [str(answer) for _ in range(calls) for answer in runner.run(images, owners=owners)]

    for calls in (1, count):  # as where its windows lie in one batch, and in several threads' at the same time
        assert run(["a"] * (count // calls), calls) == ["an illegal memory access"] * count
        with pytest.raises(EngineError, match="illegal memory access"):
            run(None, calls)
