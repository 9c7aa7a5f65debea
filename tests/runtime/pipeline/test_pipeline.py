"""The pipeline on a session that needs no engine: what comes out, how batches are made, how it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import EngineError, OutOfMemory, TileError
from dlcv.runtime.pipeline.outcome import Outcome
from dlcv.runtime.pipeline.pipeline import Pipeline
from dlcv.runtime.pipeline.settings import PipelineSettings
from dlcv.runtime.sessions.base import Session

SIDE = 8
Image = NDArray[np.uint8]


class RedSession(Session):
    """Its mask is the red channel. Notes the batches, and how many callers were inside at once."""

    def __init__(self, *, parallel: int = 1, sleep_s: float = 0.0, fail_from: int | None = None) -> None:
        self.card = ModelCard(
            model="red", task="segmentation", classes=("a", "b"), palette=((0, 0, 0), (1, 1, 1)), input_size_hw=(SIDE, SIDE),
            mean_rgb=(0.0, 0.0, 0.0), std_rgb=(1.0, 1.0, 1.0), head="mask",
        )  # fmt: skip
        self.description, self.parallel = "red", parallel
        self._sleep_s, self._fail_from = sleep_s, fail_from
        self.batches: list[int] = []
        self.inside = self.most_inside = 0
        self._count = threading.Lock()

    def _run(self, images: Image) -> dict[str, NDArray[Any]]:
        with self._count:
            self.batches.append(len(images))
            call = len(self.batches)
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
        if self._fail_from is not None and call >= self._fail_from:
            raise EngineError("the engine failed")
        time.sleep(self._sleep_s)
        mask = images[..., 0].copy()
        with self._count:
            self.inside -= 1
        return {"mask": mask}


def tile_image(tile: int, side: int = SIDE) -> Image:
    """An image whose red channel tells the tile and the pixel."""
    red = (tile * 31 + np.arange(side * side).reshape(side, side)) % 256
    return np.stack([red, red, red], axis=-1).astype(np.uint8)


def collect(pipeline: Pipeline[int, Any], tiles: Any) -> dict[int, Outcome[int, Any]]:
    outcomes: dict[int, Outcome[int, Any]] = {}

    def report(outcome: Outcome[int, Any]) -> None:
        assert outcome.tile not in outcomes, "a tile has one outcome"
        outcomes[outcome.tile] = outcome

    pipeline.run(tiles, report)
    return outcomes


@pytest.fixture(autouse=True)
def _threads_end() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread not in before]
    assert left == [], "the pipeline's threads outlive it"


@pytest.mark.parametrize("parallel", [1, 2])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("threads", [1, 4])
def test_each_tile_comes_out_once_with_its_own_mask(parallel: int, batch: int, threads: int) -> None:
    session = RedSession(parallel=parallel)
    pipeline = Pipeline(
        session, tile_image, lambda tile, mask: mask.copy(), PipelineSettings(batch, decoders=threads, writers=threads)
    )
    outcomes = collect(pipeline, range(40))
    assert sorted(outcomes) == list(range(40))
    for tile, outcome in outcomes.items():
        assert outcome.error is None
        np.testing.assert_array_equal(outcome.result, tile_image(tile)[..., 0])
    assert max(session.batches) <= batch
    assert sum(session.batches) == 40
    assert session.most_inside <= parallel
    assert pipeline.times.batches == len(session.batches)
    assert pipeline.times.threads == {"decode": threads, "session": parallel, "write": threads}


def test_a_batch_that_no_memory_can_hold_is_told() -> None:
    most = 1 << 50  # petabytes of images: more than an address has room for
    pipeline = Pipeline(RedSession(), tile_image, lambda tile, mask: None, PipelineSettings(most))
    with pytest.raises(OutOfMemory, match=f"no memory for a batch of {most}; pass a smaller --batch"):
        collect(pipeline, range(3))


def test_only_the_last_batch_is_short() -> None:
    session = RedSession(sleep_s=0.002)
    collect(Pipeline(session, tile_image, lambda tile, mask: None, PipelineSettings(4, decoders=3)), range(18))
    assert sorted(session.batches) == [
        2,
        4,
        4,
        4,
        4,
    ]  # the short one is filled last, and may enter before the one beside it


def test_windows_of_several_tiles_share_batches_and_join() -> None:
    sides = {0: 8, 1: 20, 2: 5, 3: 16, 4: 9}
    session = RedSession()
    pipeline = Pipeline(
        session,
        lambda tile: tile_image(tile, sides[tile]),
        lambda tile, mask: mask,
        PipelineSettings(4, decoders=2, writers=2),
    )
    for tile, outcome in collect(pipeline, sides).items():
        np.testing.assert_array_equal(outcome.result, tile_image(tile, sides[tile])[..., 0])
    assert all(count == 4 for count in sorted(session.batches)[1:])
    assert len(session.batches) < sum(-(-side // 4) for side in sides.values())


def test_tiles_in_flight_are_bounded() -> None:
    lock, flying, most = threading.Lock(), 0, 0
    finish_now = threading.Event()

    def read(tile: int) -> Image:
        nonlocal flying, most
        with lock:
            flying += 1
            most = max(most, flying)
        return tile_image(tile)

    def finish(tile: int, mask: Image) -> None:
        nonlocal flying
        finish_now.wait(10)
        with lock:
            flying -= 1

    settings = PipelineSettings(batch=2, decoders=3, writers=2)
    pipeline = Pipeline(RedSession(), read, finish, settings)
    threading.Timer(0.3, finish_now.set).start()
    outcomes = collect(pipeline, range(300))
    assert len(outcomes) == 300
    # one a decoder and a writer; two batches that fill, two in the session and with its answers, two more answered; two a writer
    assert most <= 3 + 2 + 2 * 2 + 2 * 2 + 2 * 2 + 2 * 2
    assert most >= 6, "the stages did not run beside one another"


@pytest.mark.parametrize("stage", ["read", "finish"])
def test_a_tile_error_is_an_outcome_and_the_others_go_on(stage: str) -> None:
    def read(tile: int) -> Image:
        if stage == "read" and tile % 3 == 0:
            raise TileError(f"tile {tile} is bad")
        return tile_image(tile)

    def finish(tile: int, mask: Image) -> int:
        if stage == "finish" and tile % 3 == 0:
            raise TileError(f"tile {tile} is bad")
        return tile

    outcomes = collect(Pipeline(RedSession(), read, finish, PipelineSettings(2, decoders=2, writers=2)), range(20))
    assert {tile for tile, outcome in outcomes.items() if outcome.error} == set(range(0, 20, 3))
    assert str(outcomes[3].error) == "tile 3 is bad"
    assert outcomes[3].result is None
    assert outcomes[4].result == 4


def test_a_tile_that_does_not_fit_is_an_outcome() -> None:
    pipeline = Pipeline(
        RedSession(), lambda tile: tile_image(tile, 8 + tile), lambda tile, mask: 1, PipelineSettings(fit="pad")
    )
    outcomes = collect(pipeline, [0, 1])
    assert outcomes[0].result == 1
    assert "tile is 9 x 9, the engine takes 8 x 8" in str(outcomes[1].error)


def test_a_session_that_fails_ends_the_run_after_what_was_complete() -> None:
    reported: list[int] = []
    pipeline = Pipeline(RedSession(fail_from=6), tile_image, lambda tile, mask: None, PipelineSettings(2, decoders=2))
    with pytest.raises(EngineError, match="the engine failed"):
        pipeline.run(range(1000), lambda outcome: reported.append(outcome.tile))
    assert len(reported) == len(set(reported)) <= 10
    assert pipeline.times.wall_s > 0


@pytest.mark.parametrize("stage", ["read", "finish"])
def test_a_bug_in_a_stage_is_raised(stage: str) -> None:
    def read(tile: int) -> Image:
        if stage == "read" and tile == 7:
            raise ZeroDivisionError("bug")
        return tile_image(tile)

    def finish(tile: int, mask: Image) -> None:
        if stage == "finish" and tile == 7:
            raise ZeroDivisionError("bug")

    with pytest.raises(ZeroDivisionError, match="bug"):
        Pipeline(RedSession(), read, finish, PipelineSettings(3, decoders=2, writers=2)).run(
            range(1000), lambda _: None
        )


def test_ctrl_c_in_report_stops_and_reports_what_is_complete() -> None:
    reported: list[int] = []
    finished: list[int] = []

    def report(outcome: Outcome[int, int]) -> None:
        reported.append(outcome.tile)
        if len(reported) == 5:
            raise KeyboardInterrupt

    def finish(tile: int, mask: Image) -> int:
        finished.append(tile)
        return tile

    pipeline: Pipeline[int, int] = Pipeline(
        RedSession(sleep_s=0.001), tile_image, finish, PipelineSettings(2, decoders=2, writers=2)
    )
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(range(10_000), report)
    assert sorted(reported) == sorted(finished), "what was finished is reported before the run ends"
    assert len(reported) < 5000


def test_a_source_that_fails_ends_the_run() -> None:
    def source() -> Iterator[int]:
        yield from range(3)
        raise OSError("the folder has gone")

    with pytest.raises(OSError, match="the folder has gone"):
        Pipeline(RedSession(), tile_image, lambda tile, mask: None, PipelineSettings(decoders=3)).run(
            source(), lambda _: None
        )


def test_the_source_is_taken_as_there_is_room() -> None:
    taken = 0

    def source() -> Iterator[int]:
        nonlocal taken
        while taken < 10_000:
            taken += 1
            yield taken

    with pytest.raises(KeyboardInterrupt):
        Pipeline(RedSession(), tile_image, lambda tile, mask: None, PipelineSettings()).run(source(), _interrupt)
    assert taken < 2000


def _interrupt(_: Outcome[int, None]) -> None:
    raise KeyboardInterrupt


def test_no_tiles() -> None:
    session = RedSession()
    assert collect(Pipeline(session, tile_image, lambda tile, mask: None, PipelineSettings()), []) == {}
    assert session.batches == []


def test_stages_overlap() -> None:
    """Each stage waits once, inside its work, until all three are at work: the first tile's mask, the second's batch, a later read."""
    together = threading.Barrier(3)

    def read(tile: int) -> Image:
        time.sleep(0.002)
        if tile == 3:
            together.wait(20)
        return tile_image(tile)

    class Meeting(RedSession):
        def _run(self, images: Image) -> dict[str, NDArray[Any]]:
            outputs = super()._run(images)
            if len(self.batches) == 2:
                together.wait(20)
            return outputs

    def finish(tile: int, mask: Image) -> None:
        if tile == 0:
            together.wait(20)

    pipeline: Pipeline[int, None] = Pipeline(Meeting(), read, finish, PipelineSettings())
    assert len(collect(pipeline, range(20))) == 20
    assert pipeline.times.busy_s["decode"] >= 0.002 * 20
    for stage in ("decode", "session", "write"):
        assert 0 < pipeline.times.share(stage) <= 1.01


def test_two_lanes_work_at_once() -> None:
    session = RedSession(parallel=2, sleep_s=0.01)
    collect(Pipeline(session, tile_image, lambda tile, mask: None, PipelineSettings(decoders=2)), range(20))
    assert session.most_inside == 2


def test_share_of_a_stage_without_time() -> None:
    from dlcv.runtime.pipeline.times import StageTimes

    assert StageTimes().share("decode") == 0
