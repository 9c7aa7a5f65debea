"""The pipeline: decode -> windows -> batches -> session -> answers -> finish, each stage in threads of its own.

Bounded queues stand between the stages, so memory is bounded whatever the folder holds, and each stage waits only for the
slowest. Decoding, ONNX Runtime, TensorRT and zlib release Python's lock, so threads are enough. A tile that fails in reading,
in the session or in finishing, or whose reading hangs, is an outcome like any other; a session that fails or hangs is opened anew
where it can be, and else ends the run (`hanging.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.answers import answers_of
from dlcv.runtime.channel import Aborted, Channel
from dlcv.runtime.errors import EngineError, TileError
from dlcv.runtime.fitting.fitting import FittedTile, fit_to_card
from dlcv.runtime.pipeline.batches import Batch, Batches
from dlcv.runtime.pipeline.batching import BatchRunner
from dlcv.runtime.pipeline.crew import Crew
from dlcv.runtime.pipeline.feed import Feed, Known, More
from dlcv.runtime.pipeline.hanging import HungBatches, HungReads
from dlcv.runtime.pipeline.jobs import Job, Settled
from dlcv.runtime.pipeline.outbox import PATIENCE_S, Outbox
from dlcv.runtime.pipeline.outcome import Outcome
from dlcv.runtime.pipeline.settings import PipelineSettings
from dlcv.runtime.pipeline.times import StageTimes
from dlcv.runtime.pipeline.workers import Worker
from dlcv.runtime.sessions.base import Session

T = TypeVar("T")
R = TypeVar("R")

UNREPORTED = 1024
"""Outcomes that may wait for `report`; then writers wait, so that a slow `report` does not cost memory."""


class _End:
    """A thread's last message."""


class Pipeline(Generic[T, R]):
    """Runs tiles through a session; `run` does the work, `times` says afterwards where the time went.

    Args:
        session: opened; called from up to `session.parallel` threads.
        read: tile -> uint8 (H, W, 3), RGB, or its answer where that is known, or the tiles that are run in its place, which are
            read next, and it has no outcome; raises TileError for a tile that cannot be read.
        finish: tile and its answer -> anything; raises TileError for a tile that cannot be finished. The answer is a mask,
            uint8 (h, w) of the tile's size, or probabilities, float32 (C,); see `answers.py`.
        settings: batch, threads, fitting, patience.
        answers: other answers than these: a session's outputs -> an array with one answer a window.
        whole: what a tile is a part of; of what hangs, parts of one whole count once.

    Attributes:
        times: where the time went.
        notices: lines for people about what had to change on the way, such as a smaller batch.
    """

    def __init__(
        self,
        session: Session,
        read: Callable[[T], NDArray[np.uint8] | Known | More[T]],
        finish: Callable[[T, NDArray[Any]], R],
        settings: PipelineSettings,
        answers: Callable[[dict[str, NDArray[Any]]], NDArray[Any]] | None = None,
        whole: Callable[[T], object] = lambda tile: tile,
    ) -> None:
        self._session, self._read, self._finish, self._settings = session, read, finish, settings
        self._whole = whole
        self._lanes = max(1, session.parallel)
        self.notices: list[str] = []
        self._runner = BatchRunner(
            session,
            answers or (lambda outputs: answers_of(outputs, session.card.task)),
            settings.batch,
            self.notices.append,
        )
        self.times = StageTimes(
            threads={"decode": settings.decoders, "session": self._lanes, "write": settings.writers}
        )

    def run(self, tiles: Iterable[T], report: Callable[[Outcome[T, R]], None]) -> None:
        """Runs all tiles; their order of completion is not theirs in `tiles`.

        Args:
            tiles: taken one by one as the pipeline has room.
            report: called in the calling thread with each outcome.

        Raises:
            Whatever the session, `finish` (other than TileError) or `report` raised, and KeyboardInterrupt: outcomes that
            were complete by then have been reported. DatasetError when the reading of too many tiles hangs.
        """
        self._prepare(tiles)
        with self.times.running():
            try:
                self._crew.start()
                self._report_all(report)
            finally:
                self._stop(report)
                self.times.batches = self._runner.calls
                for worker in self._crew.ever:
                    self.times.add(worker.stage, worker.busy_s, worker.cpu_s)

    def tell(self, outcome: Outcome[T, R]) -> None:
        """Has `report` called with what is no tile's outcome yet, such as how far `finish` is; for the threads that run `finish`."""
        self._messages.put(outcome)

    @property
    def batch(self) -> int:
        """The batch at the end of the run: smaller than asked for when memory ran out."""
        return self._runner.limit

    def _prepare(self, tiles: Iterable[T]) -> None:
        settings = self._settings
        self._feed = Feed(tiles)
        self._messages: Outbox[Outcome[T, R] | BaseException | _End] = Outbox(UNREPORTED)
        hands = self._lanes + 1  # one more gives answers on while the others' batches are in the session
        ahead = max(hands, -(-settings.decoders // settings.batch))
        self._windows: Batches[tuple[Job[T], int]] = Batches(
            settings.batch, hands + ahead, self._session.card.input_size_hw, settings.decoders
        )
        self._answered: Channel[Job[T] | Settled[T]] = Channel(max(settings.batch, 2 * settings.writers), hands)
        self._hung_reads = HungReads(settings.tile_timeout_s, "pass --tile-timeout")
        self._hung_batches: HungBatches[T] = HungBatches(
            self._session, self._runner, self._windows.release, settings.session_timeout_s
        )
        self._crew = Crew(self._ended, {"decode": settings.tile_timeout_s, "session": settings.session_timeout_s})
        self._crew.hire("decode", self._decode, settings.decoders)
        self._crew.hire("session", self._infer, hands)
        self._crew.hire("write", self._write, settings.writers)

    def _ended(self, error: BaseException | None) -> None:
        """A thread's error becomes a message to the caller."""
        if error is not None and not isinstance(error, Aborted):
            self._messages.put_now(error)
        self._messages.put_now(_End())

    def _report_all(self, report: Callable[[Outcome[T, R]], None]) -> None:
        running = len(self._crew)
        while running:
            message = self._messages.get(min(PATIENCE_S, self._crew.look_every_s or PATIENCE_S))
            self._leave_those_that_hang(report)
            if isinstance(message, Outcome):
                report(message)
            elif isinstance(message, _End):
                running -= 1
            elif message is not None:
                raise message

    def _leave_those_that_hang(self, report: Callable[[Outcome[T, R]], None]) -> None:
        """Leaves threads behind that take too long: a tile is put aside, a session is opened anew."""
        for worker, task in self._crew.late(lambda stage: self._session.patient_from if stage == "session" else 0.0):
            if worker.stage == "session":
                blamed = self._hung_batches.leave(worker, *task)
                self._crew.replace(worker, partial(self._ask_and_infer, blamed))
                continue
            self._feed.done()
            report(Outcome(task, error=self._hung_reads.error()))
            self._hung_reads.count(self._whole(task))
            self._crew.replace(worker, self._decode)

    def _stop(self, report: Callable[[Outcome[T, R]], None]) -> None:
        self._feed.stop()
        self._windows.abort()
        self._answered.abort()
        self._messages.open_up()
        if "session" in self._crew.join():
            self._session.hung = True
        while (message := self._messages.get(0)) is not None:
            if isinstance(message, Outcome):
                report(message)

    def _put_aside(self, tile: T, error: TileError) -> None:
        self._messages.put(Outcome(tile, error=error))

    def _decode(self, worker: Worker) -> None:
        while (tile := self._feed.take()) is not None:
            try:
                with worker.at(tile):
                    found = self._found(tile)
            except TileError as error:
                self._feed.done()
                self._put_aside(tile, error)
                continue
            if isinstance(found, More):
                self._feed.done(found.tiles)
                continue
            self._feed.done()
            if isinstance(found, Known):
                self._answered.put(Settled(tile, found))
                continue
            job = Job(tile, found)
            for index, window in enumerate(found.windows):
                self._windows.put(window, (job, index))
            del found, window  # while the next one is read
        self._windows.close()

    def _found(self, tile: T) -> FittedTile | Known | More[T]:
        image, settings = self._read(tile), self._settings
        if isinstance(image, (Known, More)):
            return image
        return fit_to_card(
            image,
            self._session.card,
            fit=settings.fit,
            overlap=settings.overlap,
            blend=settings.blend,
            tta=settings.tta,
        )

    def _ask_and_infer(self, blamed: Job[T] | None, worker: Worker) -> None:
        """In the place of a worker that hangs; `blamed` is the tile that is put aside for it, if the session answers without it."""
        error = self._hung_batches.ask(worker, blamed)
        if blamed is not None and error is not None:
            self._put_aside(blamed.tile, error)
        self._infer(worker)

    def _infer(self, worker: Worker) -> None:
        while (batch := self._next_batch()) is not None:
            answers = self._runner.run(
                batch.images, lambda: worker.at((self._session.generation, batch)), [job for job, _ in batch.tags]
            )
            self._windows.release(batch)
            complete: list[Job[T] | Settled[T]] = []
            for (job, index), answer in zip(batch.tags, answers):
                if isinstance(answer, EngineError):
                    if job.fail():
                        self._put_aside(job.tile, TileError(f"the engine fails on this tile: {answer}"))
                elif job.take(index, answer):
                    complete.append(job)
            self._answered.put_many(complete)
        self._answered.close()

    def _next_batch(self) -> Batch[tuple[Job[T], int]] | None:
        """The next batch, without the windows of tiles that were put aside; None when no more will come.

        What was in a batch on which the session hung comes first, each tile alone.
        """
        while True:
            try:
                batch = self._hung_batches.alone.popleft()
            except IndexError:
                found = self._windows.get()
                if found is None:
                    return None
                batch = found
            alive = [position for position, (job, _) in enumerate(batch.tags) if not job.failed]
            if len(alive) < len(batch.tags):
                batch.keep(alive)
            if alive:
                return batch
            self._windows.release(batch)

    def _write(self, worker: Worker) -> None:
        while (job := self._answered.get()) is not None:
            outcome: Outcome[T, R]
            with worker.at(job.tile):
                try:
                    outcome = Outcome(job.tile, result=self._finish(job.tile, job.answer()))
                except TileError as error:
                    outcome = Outcome(job.tile, error=error)
            self._messages.put(outcome)
