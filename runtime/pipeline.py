"""The pipeline: decode -> windows -> batches -> session -> answers -> finish, each stage in threads of its own.

Bounded queues stand between the stages, so memory is bounded whatever the folder holds, and each stage waits only for the
slowest. Decoding, ONNX Runtime, TensorRT and zlib release Python's lock, so threads are enough. A tile that fails in reading
or finishing is an outcome like any other; a session that fails ends the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.answers import answers_of
from dlcv.runtime.channel import Aborted, Channel
from dlcv.runtime.errors import TileError
from dlcv.runtime.fitting import FittedTile, fit_to_card
from dlcv.runtime.sessions.base import Session

T = TypeVar("T")
R = TypeVar("R")

STAGES = ("decode", "session", "write")
DEFAULT_OVERLAP = 0.25
"""Of windows, as a share of their side."""


@dataclass(frozen=True)
class PipelineSettings:
    """How a pipeline is laid out.

    Attributes:
        batch: windows that go through the session at once.
        decoders: threads that read and fit tiles.
        writers: threads that finish tiles.
        fit: see `fitting.py`; None takes the card's.
        overlap: of neighbouring windows, as a share of the window's side.
        blend, tta: see `fit_to_card`; they are of use where `answers` gives probabilities.
    """

    batch: int = 1
    decoders: int = 1
    writers: int = 1
    fit: str | None = None
    overlap: float = DEFAULT_OVERLAP
    blend: bool = False
    tta: str = "none"


@dataclass(frozen=True)
class Outcome(Generic[T, R]):
    """What became of a tile: `result` of `finish`, or the `error` that stopped it."""

    tile: T
    result: R | None = None
    error: TileError | None = None


@dataclass
class StageTimes:
    """Where the time went.

    Attributes:
        wall_s: from start to end, in seconds.
        busy_s: seconds that a stage's threads spent at work, summed over its threads.
        threads: threads of each stage.
        batches: how often the session was called.
    """

    wall_s: float = 0.0
    busy_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    threads: dict[str, int] = field(default_factory=dict)
    batches: int = 0

    def share(self, stage: str) -> float:
        """The part of the run's time in which a stage's threads were at work, 0..1."""
        available = self.wall_s * self.threads.get(stage, 1)
        return self.busy_s[stage] / available if available else 0.0


class _Job(Generic[T]):
    """A tile on its way: its windows, and the answers that have come back."""

    def __init__(self, tile: T, fitted: FittedTile) -> None:
        self.tile, self.fitted = tile, fitted
        self.answers: list[NDArray[Any] | None] = [None] * len(fitted.windows)
        self._missing, self._lock = len(fitted.windows), Lock()

    def take(self, index: int, answer: NDArray[Any]) -> bool:
        """Keeps the answer of a window; True when it was the last one."""
        with self._lock:
            self.answers[index] = answer
            self._missing -= 1
            return self._missing == 0


class Pipeline(Generic[T, R]):
    """Runs tiles through a session; `run` does the work, `times` says afterwards where the time went.

    Args:
        session: opened; called from up to `session.parallel` threads.
        read: tile -> uint8 (H, W, 3), RGB; raises TileError for a tile that cannot be read.
        finish: tile and its answer -> anything; raises TileError for a tile that cannot be finished. The answer is a mask,
            uint8 (h, w) of the tile's size, or probabilities, float32 (C,); see `answers.py`.
        settings: batch, threads, fitting.
        answers: other answers than these: a session's outputs -> an array with one answer a window.
    """

    def __init__(
        self,
        session: Session,
        read: Callable[[T], NDArray[np.uint8]],
        finish: Callable[[T, NDArray[Any]], R],
        settings: PipelineSettings,
        answers: Callable[[dict[str, NDArray[Any]]], NDArray[Any]] | None = None,
    ) -> None:
        self._session, self._read, self._finish, self._settings = session, read, finish, settings
        self._answers = answers or (lambda outputs: answers_of(outputs, session.card.task))
        self._lanes = max(1, session.parallel)
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
            were complete by then have been reported.
        """
        started = time.perf_counter()
        self._prepare(tiles)
        try:
            for thread in self._threads:
                thread.start()
            running = len(self._threads)
            while running:
                message = self._messages.get()
                if isinstance(message, Outcome):
                    report(message)
                elif message is None:
                    running -= 1
                else:
                    raise message
        finally:
            self._stop(report)
            self.times.wall_s = time.perf_counter() - started

    def _prepare(self, tiles: Iterable[T]) -> None:
        settings = self._settings
        self._source, self._source_lock, self._gather_lock = iter(tiles), Lock(), Lock()
        self._stopping = False
        self._messages: SimpleQueue[Outcome[T, R] | BaseException | None] = SimpleQueue()
        ahead = settings.batch * (self._lanes + 1)
        self._windows: Channel[tuple[_Job[T], int]] = Channel(max(ahead, settings.decoders), settings.decoders)
        self._answered: Channel[_Job[T]] = Channel(max(settings.batch, 2 * settings.writers), self._lanes)
        work = [self._decode] * settings.decoders + [self._infer] * self._lanes + [self._write] * settings.writers
        self._threads = [Thread(target=self._guarded, args=(part,), daemon=True) for part in work]

    def _stop(self, report: Callable[[Outcome[T, R]], None]) -> None:
        self._stopping = True
        self._windows.abort()
        self._answered.abort()
        for thread in self._threads:
            if thread.ident is not None:  # one that was not started yet has nothing to end
                thread.join()
        while not self._messages.empty():
            message = self._messages.get()
            if isinstance(message, Outcome):
                report(message)

    def _guarded(self, part: Callable[[], None]) -> None:
        """A thread's body: its error becomes a message to the caller."""
        try:
            part()
        except Aborted:
            pass
        except BaseException as error:
            self._messages.put(error)
        self._messages.put(None)

    def _decode(self) -> None:
        while (tile := self._next_tile()) is not None:
            start = time.perf_counter()
            try:
                image_rgb = self._read(tile)
                fitted = fit_to_card(
                    image_rgb,
                    self._session.card,
                    fit=self._settings.fit,
                    overlap=self._settings.overlap,
                    blend=self._settings.blend,
                    tta=self._settings.tta,
                )
            except TileError as error:
                self._messages.put(Outcome(tile, error=error))
                continue
            finally:
                self._spent("decode", start)
            job = _Job(tile, fitted)
            for index in range(len(fitted.windows)):
                self._windows.put((job, index))
        self._windows.close()

    def _next_tile(self) -> T | None:
        with self._source_lock:
            return None if self._stopping else next(self._source, None)

    def _infer(self) -> None:
        height, width = self._session.card.input_size_hw
        buffer = np.empty((self._settings.batch, height, width, 3), np.uint8)
        while batch := self._gather():
            for position, (job, index) in enumerate(batch):
                buffer[position] = job.fitted.windows[index]
            start = time.perf_counter()
            answers = self._answers(self._session.run(buffer[: len(batch)]))
            self._spent("session", start, batches=1)
            for (job, index), answer in zip(batch, answers):
                if job.take(index, answer):
                    self._answered.put(job)
        self._answered.close()

    def _gather(self) -> list[tuple[_Job[T], int]]:
        """The next full batch, or the last short one; one thread gathers at a time, so that only one batch is short."""
        batch: list[tuple[_Job[T], int]] = []
        with self._gather_lock:
            while len(batch) < self._settings.batch and (item := self._windows.get()) is not None:
                batch.append(item)
        return batch

    def _write(self) -> None:
        while (job := self._answered.get()) is not None:
            start = time.perf_counter()
            try:
                result = self._finish(
                    job.tile, job.fitted.join([answer for answer in job.answers if answer is not None])
                )
                self._messages.put(Outcome(job.tile, result=result))
            except TileError as error:
                self._messages.put(Outcome(job.tile, error=error))
            finally:
                self._spent("write", start)

    def _spent(self, stage: str, start: float, batches: int = 0) -> None:
        seconds = time.perf_counter() - start
        with self._source_lock:
            self.times.busy_s[stage] += seconds
            self.times.batches += batches
