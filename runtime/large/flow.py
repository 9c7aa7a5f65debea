"""Tiles and the windows of large images through one pipeline, so that batches are filled across all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.errors import TileError
from dlcv.runtime.large.run import ImageRun, LargeSettings, Part
from dlcv.runtime.outputs.base import Counted
from dlcv.runtime.outputs.named_files import refused_names
from dlcv.runtime.pipeline.feed import Known, More
from dlcv.runtime.pipeline.outcome import Outcome
from dlcv.runtime.pipeline.pipeline import Pipeline
from dlcv.runtime.pipeline.settings import PipelineSettings
from dlcv.runtime.pipeline.times import StageTimes
from dlcv.runtime.sessions.base import Session
from dlcv.runtime.tiles.tile_list import Tile

R = TypeVar("R")


class Work(Protocol):
    """What a run hands through its pipeline for a tile."""

    @property
    def tile(self) -> Tile:
        """The tile."""

    def begin(self) -> None:
        """Told before any of the tile is read, by the thread that reads it."""


W = TypeVar("W", bound=Work)


class _Opening:
    """A large image, to be opened by the thread that takes it, which has a time limit.

    Attributes:
        work: of the run.
        run: the image, when it is open.
        over: nobody waits for it any more.
    """

    def __init__(self, work: Any) -> None:
        self.work, self.run, self.over = work, None, False  # type: Any, ImageRun | None, bool


@dataclass(frozen=True)
class _Doing:
    """What is being made of a large image whose windows are all answered."""

    text: str


@dataclass(frozen=True)
class _Whole:
    """What a large image gave, with its last window."""

    result: Any


class TilePipeline(Generic[W, R]):
    """A `Pipeline` of tiles some of which are `large`; these go through it window by window.

    Args:
        session: opened.
        read, write: of a tile that is not large; see `Pipeline`.
        settings: of the pipeline; its fitting holds for large images, too.
        large: how these are read.
        mask_path: where the mask of a large tile goes.
        written: makes what `run` reports about a large tile, in a writer's thread, from what its mask holds.
    """

    def __init__(
        self,
        session: Session,
        read: Callable[[W], NDArray[np.uint8]],
        write: Callable[[W, NDArray[Any]], R],
        settings: PipelineSettings,
        *,
        answers: Callable[[dict[str, NDArray[Any]]], NDArray[Any]] | None = None,
        large: LargeSettings,
        mask_path: Callable[[Tile], Path],
        written: Callable[[Tile, Counted], R],
    ) -> None:
        self._card, self._large, self._mask_path, self._written = session.card, large, mask_path, written
        self._read_tile, self._write_tile = read, write
        self._pipeline: Pipeline[W | Part | _Opening, Any] = Pipeline(
            session, self._read, self._finish, settings, answers=answers, whole=_tile_of
        )
        self._runs: dict[ImageRun, W] = {}
        self._openings: set[_Opening] = set()
        self._lock = Lock()  # images are opened in other threads than that in which they are ended

    @property
    def times(self) -> StageTimes:
        """Of the pipeline."""
        return self._pipeline.times

    @property
    def notices(self) -> list[str]:
        """Of the pipeline."""
        return self._pipeline.notices

    @property
    def batch(self) -> int:
        """Of the pipeline, at the end of the run."""
        return self._pipeline.batch

    def run(
        self,
        works: Iterable[W],
        report: Callable[[Outcome[W, R]], None],
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Runs all tiles; see `Pipeline.run`. What is not whole of a large image is removed, whatever happens, but for what a run that
        goes on with it takes.

        Args:
            works: tiles, taken as there is room.
            report: called in this thread with the outcome of each tile.
            progress: called in this thread with how far a large image is, as text.
        """
        try:
            self._pipeline.run(self._items(works), lambda outcome: self._report(outcome, report, progress))
        finally:
            with self._lock:
                left = list(self._runs)
                for opening in self._openings:
                    opening.over = True
            for run in left:
                self._end(run, keep=True)

    def _items(self, works: Iterable[W]) -> Iterator[W | Part | _Opening]:
        for work in works:
            yield _Opening(work) if work.tile.large else work

    def _read(self, item: W | Part | _Opening) -> NDArray[np.uint8] | Known | More[W | Part | _Opening]:
        if isinstance(item, Part):
            image_rgb = item.run.read(item)
            return Known(None) if image_rgb is None else image_rgb
        if isinstance(item, _Opening):
            return More(self._opened(item).parts())
        return self._read_tile(item)

    def _opened(self, opening: _Opening) -> ImageRun:
        work = opening.work
        with self._lock:
            self._openings.add(opening)
        try:
            work.begin()
            with refused_names():
                run = ImageRun(work.tile, self._mask_path(work.tile), self._card, self._large)
        except BaseException:
            with self._lock:
                self._openings.discard(opening)
            raise
        with self._lock:
            self._openings.discard(opening)
            if not opening.over:
                opening.run, self._runs[run] = run, work
        if opening.run is None:  # it comes too late
            run.close()
            raise TileError("the run of this image has ended")
        return run

    def _finish(self, item: W | Part | _Opening, answer: NDArray[Any]) -> Any:
        if isinstance(item, Part):
            return self._ended(item) if item.run.finish(item, answer) else None
        assert not isinstance(item, _Opening), "its windows have answers"
        return self._write_tile(item, answer)

    def _ended(self, part: Part) -> _Whole:
        with refused_names():
            return _Whole(
                part.run.end(self._written, lambda text: self._pipeline.tell(Outcome(part, result=_Doing(text))))
            )

    def _report(
        self,
        outcome: Outcome[W | Part | _Opening, Any],
        report: Callable[[Outcome[W, R]], None],
        progress: Callable[[str], None],
    ) -> None:
        item = outcome.tile
        if isinstance(item, Part):
            if item.run in self._runs:
                self._report_part(item.run, outcome, report, progress)
        elif isinstance(item, _Opening):
            with self._lock:
                item.over = True
            if item.run is not None:  # it was left behind in the moment in which it was open
                self._end(item.run)
            report(Outcome(item.work, error=outcome.error))
        else:
            report(Outcome(item, outcome.result, outcome.error))

    def _report_part(
        self,
        run: ImageRun,
        outcome: Outcome[W | Part | _Opening, Any],
        report: Callable[[Outcome[W, R]], None],
        progress: Callable[[str], None],
    ) -> None:
        error, whole = outcome.error, outcome.result
        if error is not None:
            report(Outcome(self._end(run), error=error))
        elif isinstance(whole, _Doing):
            progress(f"{run.tile.key}: {whole.text}")
        elif whole is not None:
            report(Outcome(self._end(run), whole.result))
        else:
            run.done += 1
            if run.done * 100 // run.windows != (run.done - 1) * 100 // run.windows:
                progress(f"{run.tile.key}: {run.done * 100 // run.windows} %")

    def _end(self, run: ImageRun, *, keep: bool = False) -> W:
        with self._lock:
            work = self._runs.pop(run)
        run.close(keep=keep)
        return work


def _tile_of(item: Any) -> Tile:
    """The tile that an item of the pipeline is of."""
    tile: Tile = (
        item.run.tile if isinstance(item, Part) else item.work.tile if isinstance(item, _Opening) else item.tile
    )
    return tile
