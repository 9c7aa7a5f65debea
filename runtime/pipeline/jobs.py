"""What goes from stage to stage of the pipeline: tiles with their windows, tiles whose answer is known, and a question to a session."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray

from dlcv.runtime.fitting.fitting import FittedTile
from dlcv.runtime.pipeline.feed import Known

T = TypeVar("T")


_TAKING = Lock()
"""Of all jobs: what is done under it takes no time, and a lock for each tile does."""


class Job(Generic[T]):
    """A tile on its way: how its windows lie, and the answers that have come back.

    Attributes:
        tile: the tile.
        layout: of its windows.
        answers: by window; None where there is none yet.
        failed: it was put aside.
        suspect: it was in a batch on which the session hung.
    """

    __slots__ = ("_missing", "answers", "failed", "layout", "suspect", "tile")

    def __init__(self, tile: T, fitted: FittedTile) -> None:
        self.tile, self.layout = tile, fitted.layout
        self.answers: list[NDArray[Any] | None] = [None] * fitted.layout.count
        self.failed = False
        self._missing, self.suspect = fitted.layout.count, False

    def take(self, index: int, answer: NDArray[Any]) -> bool:
        """Keeps the answer of a window; True when it was the last one."""
        with _TAKING:
            self.answers[index] = answer
            self._missing -= 1
            return self._missing == 0

    def answer(self) -> NDArray[Any]:
        """Of the whole tile, when those of all windows are there."""
        return self.layout.join([answer for answer in self.answers if answer is not None])

    def fail(self) -> bool:
        """Puts the tile aside; True the first time."""
        with _TAKING:
            first, self.failed = not self.failed, True
            return first


@dataclass(frozen=True)
class Settled(Generic[T]):
    """A tile on its way to `finish` alone."""

    tile: T
    known: Known

    def answer(self) -> Any:
        """What was known."""
        return self.known.answer


@dataclass(frozen=True)
class Asked(Generic[T]):
    """What a session that was opened anew since one hung is given first: a harmless image.

    Attributes:
        blamed: the tile that is put aside for it, if the session answers.
    """

    blamed: Job[T] | None
