"""Tiles and the windows of large images through one pipeline, so that batches are filled across all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.errors import TileError
from dlcv.runtime.large.run import ImageRun, LargeSettings, NoData, Part, Written
from dlcv.runtime.pipeline import Outcome, Pipeline, PipelineSettings, StageTimes
from dlcv.runtime.sessions.base import Session
from dlcv.runtime.tiles import Tile

R = TypeVar("R")


@dataclass(frozen=True)
class _Broken:
    """An image that could not be opened: an item whose reading fails."""

    tile: Tile
    error: TileError


Item = Tile | Part | _Broken


class TilePipeline(Generic[R]):
    """A `Pipeline` of tiles some of which are `large`; these go through it window by window.

    Args:
        session: opened.
        read, write: of a tile that is not large; see `Pipeline`.
        settings: of the pipeline; its fitting holds for large images, too.
        large: how these are read.
        mask_path: where the mask of a large tile goes.
        written: what `run` reports about a large tile, from what was written.
    """

    def __init__(
        self,
        session: Session,
        read: Callable[[Tile], NDArray[np.uint8]],
        write: Callable[[Tile, NDArray[Any]], R],
        settings: PipelineSettings,
        *,
        answers: Callable[[dict[str, NDArray[Any]]], NDArray[Any]] | None = None,
        large: LargeSettings,
        mask_path: Callable[[Tile], Path],
        written: Callable[[Tile, Written], R],
    ) -> None:
        self._card, self._large, self._mask_path, self._written = session.card, large, mask_path, written
        self._read_tile, self._write_tile = read, write
        self._pipeline: Pipeline[Item, Any] = Pipeline(session, self._read, self._finish, settings, answers=answers)
        self._runs: set[ImageRun] = set()

    @property
    def times(self) -> StageTimes:
        """Of the pipeline."""
        return self._pipeline.times

    def run(
        self,
        tiles: Iterable[Tile],
        report: Callable[[Outcome[Tile, R]], None],
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Runs all tiles; see `Pipeline.run`. What is not whole of a large image is removed, whatever happens.

        Args:
            tiles: taken as there is room.
            report: called in this thread with the outcome of each tile.
            progress: called in this thread with how far a large image is, as text.
        """
        try:
            self._pipeline.run(self._items(tiles), lambda outcome: self._report(outcome, report, progress))
        finally:
            for run in list(self._runs):
                self._end(run)

    def _items(self, tiles: Iterable[Tile]) -> Iterator[Item]:
        for tile in tiles:
            if not tile.large:
                yield tile
                continue
            try:
                run = ImageRun(tile, self._mask_path(tile), self._card, self._large)
            except TileError as error:
                yield _Broken(tile, error)
                continue
            self._runs.add(run)
            yield from run.parts()

    def _read(self, item: Item) -> NDArray[np.uint8]:
        if isinstance(item, Tile):
            return self._read_tile(item)
        if isinstance(item, _Broken):
            raise item.error
        return item.run.read(item)

    def _finish(self, item: Item, answer: NDArray[Any]) -> Any:
        if isinstance(item, Tile):
            return self._write_tile(item, answer)
        assert isinstance(item, Part), "what could not be opened has no answer"
        return item.run.finish(item, answer)

    def _report(
        self,
        outcome: Outcome[Item, Any],
        report: Callable[[Outcome[Tile, R]], None],
        progress: Callable[[str], None],
    ) -> None:
        item = outcome.tile
        if isinstance(item, Tile):
            report(Outcome(item, outcome.result, outcome.error))
        elif isinstance(item, _Broken):
            report(Outcome(item.tile, error=outcome.error))
        elif item.run in self._runs:
            self._report_part(item.run, outcome, report, progress)

    def _report_part(
        self,
        run: ImageRun,
        outcome: Outcome[Item, Any],
        report: Callable[[Outcome[Tile, R]], None],
        progress: Callable[[str], None],
    ) -> None:
        written = outcome.error.written if isinstance(outcome.error, NoData) else outcome.result
        if outcome.error is not None and not isinstance(outcome.error, NoData):
            self._end(run)
            report(Outcome(run.tile, error=outcome.error))
        elif written is not None:
            self._end(run)
            report(Outcome(run.tile, self._written(run.tile, written)))
        else:
            run.done += 1
            if run.done * 100 // run.windows != (run.done - 1) * 100 // run.windows:
                progress(f"{run.tile.key}: {run.done * 100 // run.windows} %")

    def _end(self, run: ImageRun) -> None:
        self._runs.discard(run)
        run.close()
