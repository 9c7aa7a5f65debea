"""What becomes of tiles and batches when a call never comes back: a tile is put aside, a session is opened anew, both so often only."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from dlcv.runtime.errors import DatasetError, EngineError, TileError
from dlcv.runtime.pipeline.batches import Batch
from dlcv.runtime.pipeline.batching import BatchRunner
from dlcv.runtime.pipeline.jobs import Asked, Job
from dlcv.runtime.pipeline.workers import Worker
from dlcv.runtime.sessions.base import Session

T = TypeVar("T")

MOST_HUNG = 32
"""Tiles that may hang before the run ends, in reading or in the session: each holds threads, and storage that has gone would hold one
a tile."""


class HungReads:
    """Tiles whose reading hung.

    Args:
        limit_s: after which it was given up, in seconds; None: never.
        instead: what a user does about it, beside looking at the storage.
    """

    def __init__(self, limit_s: float | None, instead: str) -> None:
        self._limit_s, self._instead = limit_s, instead
        self._wholes: list[object] = []

    def error(self) -> TileError:
        """Why such a tile has no result."""
        return TileError(f"reading it took longer than {self._limit_s:g} s; look at its storage, or {self._instead}")

    def count(self, whole: object) -> None:
        """One more.

        Args:
            whole: what it is a part of: parts of one count once.

        Raises:
            DatasetError: when there are more than `MOST_HUNG`.
        """
        if not any(whole is one for one in self._wholes):
            self._wholes.append(whole)
        if len(self._wholes) > MOST_HUNG:
            raise DatasetError(f"{len(self._wholes)} tiles hang: {self.error()}")


class HungBatches(Generic[T]):
    """Batches on which the session hung: they are run again by one that is opened anew, tile by tile.

    Args:
        session: that may hang.
        runner: of its batches.
        release: called with a batch that is no longer needed.
        limit_s: after which the session was given up, in seconds; None: never.

    Attributes:
        alone: what is to be run again, before anything else.
    """

    def __init__(
        self, session: Session, runner: BatchRunner, release: Callable[[Batch[tuple[Job[T], int]]], None],
        limit_s: float | None,
    ) -> None:  # fmt: skip
        self._session, self._runner, self._release, self._limit_s = session, runner, release, limit_s
        self._tiles = 0
        self.alone: deque[Batch[tuple[Job[T], int]]] = deque()

    def leave(self, worker: Worker, generation: int, work: Batch[tuple[Job[T], int]] | Asked[T]) -> Job[T] | None:
        """Leaves a session behind that hangs; whoever comes in the worker's place asks the next one whether it answers at all (`ask`).

        Returns:
            The tile that is to blame, if the session answers without it.

        Raises:
            EngineError: when too many tiles are to blame; SessionLost when it cannot be opened anew.
        """
        hangs = self._hangs(1 if isinstance(work, Asked) else len(work.tags))
        error = EngineError(
            f"the session has {hangs}; its library or its device hangs: look at it with dlcv-doctor, and go on with --resume"
        )
        self._session.restart(generation, error, why=f"it had {hangs}", hung=True)
        blamed = work.blamed if isinstance(work, Asked) else self._to_be_blamed(work, error)
        self._runner.abandon(worker.thread.ident)
        return blamed

    def ask(self, worker: Worker, blamed: Job[T] | None) -> TileError | None:
        """Asks a session that was opened anew for a harmless image; gives the error of the tile that was to blame.

        Raises:
            EngineError: when it fails.
        """
        hangs = self._hangs(1)
        self._runner.ask(
            EngineError(f"the session has {hangs}"), lambda: worker.at((self._session.generation, Asked(blamed)))
        )
        if blamed is None:
            return None
        self._session.excuse()
        return TileError(f"the engine hangs on this tile: it has {hangs}, twice")

    def _to_be_blamed(self, batch: Batch[tuple[Job[T], int]], error: EngineError) -> Job[T] | None:
        """The tile on which the session hung twice, the second time with nothing beside it; a batch is run again else, tile by tile."""
        ((job, _), *others), blamed = batch.tags, None
        if others or not job.suspect:
            for position, (job, index) in enumerate(batch.tags):
                job.suspect = True
                self.alone.append(Batch(batch.images[position : position + 1].copy(), [(job, index)]))
        elif job.fail():  # else another of its windows hung, too
            blamed = job
            self._tiles += 1
            if self._tiles > MOST_HUNG:
                raise EngineError(f"{self._tiles} tiles hang: {error}")
        self._release(batch)
        return blamed

    def _hangs(self, count: int) -> str:
        return f"not answered within {self._limit_s:g} s on a batch of {count}"
