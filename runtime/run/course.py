"""The course of a run: what an earlier one left to do, the tiles through the flow, each outcome counted and written down, the summary."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from dlcv.runtime.errors import one_line
from dlcv.runtime.files import remove_partials
from dlcv.runtime.outputs.base import Output
from dlcv.runtime.pipeline.outcome import Outcome
from dlcv.runtime.pipeline.times import StageTimes
from dlcv.runtime.progress import Progress, patience
from dlcv.runtime.records.manifest import DONE, FAILED, Manifest, Row, forget, read_manifest
from dlcv.runtime.records.resume import before
from dlcv.runtime.run.flow import Flow
from dlcv.runtime.run.flushing import Flushing, flush
from dlcv.runtime.run.folder import RunFolder
from dlcv.runtime.tiles.looks import Looks
from dlcv.runtime.tiles.tile_list import Tile, TileList
from dlcv.runtime.version import __version__
from dlcv.runtime.work.settings import InferSettings
from dlcv.runtime.work.tile_work import TileWork

R = TypeVar("R")


@dataclass
class Summary:
    """How a run ended; `summary.json` holds the same.

    Attributes:
        tiles: that were asked for.
        done: with an answer, those of an earlier run that was resumed among them.
        failed: with a reason in the manifest.
        resumed: done in an earlier run.
        by_class: segmentation: pixels of each class, over the masks that this run wrote; classification: images of each
            class predicted, over all that are done. In `summary.json` it is called `pixels` or `images`.
        first_failure: path and reason of one failed tile, for people; empty when none.
        notices: lines for people about what had to change on the way, such as a smaller batch.
        verdict: what held the run up, a sentence; empty when nothing was run.
        seconds: that tiles were run, on the clock; 0 when nothing was.
        tiles_per_second: done or failed in these.
    """

    tiles: int
    done: int = 0
    failed: int = 0
    resumed: int = 0
    by_class: dict[str, int] = field(default_factory=dict)
    first_failure: str = ""
    notices: list[str] = field(default_factory=list)
    verdict: str = ""
    seconds: float = 0.0
    tiles_per_second: float = 0.0


class Course(Generic[R]):
    """One run from what is left of it to its summary; `run` does it.

    Args:
        settings: what was asked.
        folder: entered.
        tiles: all that were asked for.
        output: where answers go.
        looks: what is known of the tiles' files.
        say: takes lines for people.
    """

    def __init__(
        self,
        settings: InferSettings,
        folder: RunFolder,
        tiles: TileList,
        output: Output[R],
        looks: Looks,
        say: Callable[[str], None],
    ) -> None:
        self._settings, self._folder, self._tiles, self._looks = settings, folder, tiles, looks
        self._output, self._say = output, say
        self._summary = Summary(tiles=len(tiles))

    def run(self, start: Callable[[], Flow]) -> Summary:
        """Runs what is left; the engine is opened only when something is."""
        remove_partials(self._folder.folder)  # of run.json or summary.json there may be one though no tile is left
        left = self._left() if self._folder.manifest.exists() else self._tiles
        self._summary.resumed = self._summary.done = len(self._tiles) - len(left)
        if not left:
            with Manifest(self._folder.manifest), self._output:  # a torn last row is dropped
                self._summary.by_class = self._output.by_class()
            self._output.conclude(self._rows())
            self._folder.write_summary(self._facts(StageTimes(), time.time(), complete=True))
            return self._summary
        with patience(f"opening {self._settings.engine.path.name}", self._say, quiet=self._settings.quiet):
            flow = start()
        if flow.opened and not self._settings.quiet:
            self._say(f"{len(left)} tile{'s' if len(left) > 1 else ''} through {flow.opened}")
        started = time.time()
        complete = False
        try:
            with Flushing(self._folder.folder if self._settings.fsync else None):
                self._flow(flow, left)
                self._output.conclude(self._rows())
            complete = True
        finally:
            self._summary.by_class = self._output.by_class()
            facts = flow.facts
            self._summary.notices, self._summary.verdict = flow.notices, facts.get("verdict", "")
            self._summary.seconds = flow.times.wall_s
            self._summary.tiles_per_second = self._rate(flow.times)
            if complete or self._summary.done + self._summary.failed:
                self._folder.write_summary(self._facts(flow.times, started, complete) | facts)
        if self._settings.fsync:
            flush(self._folder.folder)
        return self._summary

    def _flow(self, flow: Flow, left: Sequence[Tile]) -> None:
        """All that are left go through, and are written down."""
        with (
            Manifest(self._folder.manifest) as manifest,  # first: a folder with predictions and no manifest is not ours
            self._output,
            Progress(len(left), "tiles", quiet=self._settings.quiet) as progress,
        ):
            flow.run(
                map(TileWork.of, left),
                lambda outcome: self._note(outcome, manifest, progress),
                lambda text: progress.advance(0, text),
            )

    def _left(self) -> Sequence[Tile]:
        """The tiles that an earlier run did not do, or whose answers do not hold; what is there of them is taken out."""
        beside = self._output.beside if self._output.a_file_a_tile else None
        rows = self._folder.done()
        found = before(self._tiles, rows, self._folder.folder, self._looks, beside)
        self._looks.forget()
        if found.damaged:
            such = f"such as {next(iter(found.damaged.values()))}; these tiles are run again"
            self._say(f"{len(found.damaged)} of {len(self._tiles)} results are not as they were written, {such}")
        if gone := len(rows) - found.known:
            self._say(self._not_asked_for(rows, gone))
        left = self._output.left(self._tiles, found.holds)
        if left:
            self._clear_up(left, rows)
        return left

    def _not_asked_for(self, rows: Mapping[str, Row], gone: int) -> str:
        asked = {tile.key for tile in self._tiles}
        such = one_line(min(key for key in rows if key not in asked))
        if gone == 1:
            return f"{such}, which an earlier run did, is not among the tiles now; what was written of it stays"
        return f"{gone} tiles that earlier runs did, such as {such}, are not among the tiles now; what was written of them stays"

    def _clear_up(self, left: Sequence[Tile], rows: Mapping[str, Row]) -> None:
        """Takes out what is there of the tiles that are run again: their files first, since the rows tell of them."""
        again = {tile.key for tile in left}
        self._folder.remove_files_of([rows[key] for key in again if key in rows])
        forget(self._folder.manifest, again)
        self._output.clear_up(left)

    def _rows(self) -> _Rows:
        return _Rows(self._folder.manifest, self._tiles)

    def _note(self, outcome: Outcome[TileWork, R], manifest: Manifest, progress: Progress) -> None:
        key, was = outcome.tile.tile.key, outcome.tile.was
        if outcome.error is None and outcome.result is not None:
            name = self._output.note(outcome.tile.tile, outcome.result)
            manifest.add(Row(key, DONE, name, "", was, *self._sizes(outcome.tile.tile, name)))
            self._summary.done += 1
        else:
            manifest.add(Row(key, FAILED, reason=str(outcome.error), tile=was))
            self._summary.failed += 1
            self._summary.first_failure = self._summary.first_failure or f"{key}: {outcome.error}"
        progress.advance(1, f"{self._summary.failed} failed" if self._summary.failed else "")

    def _sizes(self, tile: Tile, output: str) -> tuple[int | None, int | None]:
        """Bytes of the output and of all files beside it, as they are in their places."""
        if not self._output.a_file_a_tile:
            return None, None
        folder, beside = os.fspath(self._folder.folder), self._output.beside(tile)
        try:
            size = os.stat(os.path.join(folder, output)).st_size
            return size, sum(os.stat(os.path.join(folder, name)).st_size for name in beside) if beside else None
        except OSError:  # somebody took it away already
            return None, None

    def _rate(self, times: StageTimes) -> float:
        """Tiles a second."""
        worked = self._summary.done + self._summary.failed - self._summary.resumed
        return worked / times.wall_s if times.wall_s else 0.0

    def _facts(self, times: StageTimes, started: float, complete: bool) -> dict[str, Any]:
        summary = self._summary
        return {
            "tiles": summary.tiles,
            "done": summary.done,
            "failed": summary.failed,
            "resumed": summary.resumed,
            self._output.counted: summary.by_class,
            "complete": complete,
            "seconds": round(times.wall_s, 6),
            "tiles_per_second": round(self._rate(times), 3),
            "verdict": summary.verdict,
            "time": times.as_facts(),
            "cpu_s": round(times.process_cpu_s, 3),
            "cores": times.cores,
            "batches": times.batches,
            "batch": 0,
            "session_restarts": 0,
            "notices": summary.notices,
            "session": "",
            "computes": "",
            "engine": str(self._settings.engine.path),
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            "dlcv": __version__,
        }


class _Rows(Iterable[Row]):
    """A manifest's rows of the tiles that were asked for; nothing is read before the first is taken, and each loop reads anew."""

    def __init__(self, manifest: Path, tiles: TileList) -> None:
        self._manifest, self._tiles = manifest, tiles

    def __iter__(self) -> Iterator[Row]:
        asked = {tile.key for tile in self._tiles}
        for row in read_manifest(self._manifest):
            if row.path in asked:
                yield row
