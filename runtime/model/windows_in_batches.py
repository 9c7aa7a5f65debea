"""Windows of many images into full batches, and each image's answer as soon as its last window is answered."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.errors import EngineError, TileError
from dlcv.runtime.fitting.fitting import FittedTile
from dlcv.runtime.pipeline.batching import BatchRunner

S = TypeVar("S")


def answers_in_order(
    tiles: Iterable[tuple[S, FittedTile | TileError]],
    runner: BatchRunner,
    at_work: Callable[[], AbstractContextManager[Any]] = nullcontext,
    *,
    at_once: bool = False,
) -> Iterator[tuple[S, NDArray[Any] | TileError]]:
    """The answer of each image, its windows joined, or why there is none.

    Args:
        tiles: fitted, or what went wrong.
        runner: of the session.
        at_work: entered around each batch: the caller may leave the session alone between two answers, and may close it then.
        at_once: no image waits for the next to fill a batch.

    Raises:
        EngineError: when the session fails.
    """
    waiting: deque[_Waiting[S]] = deque()
    batch: list[tuple[_Waiting[S], NDArray[np.uint8]]] = []

    def run() -> None:
        if batch:
            with at_work():
                _run(runner, batch)
        batch.clear()

    for item, tile in tiles:
        waiting.append(_Waiting(item, tile))
        for window in tile.windows if isinstance(tile, FittedTile) else ():
            batch.append((waiting[-1], window))
            if len(batch) >= runner.limit:
                run()
        if at_once:
            run()
        while waiting and waiting[0].ready:
            yield waiting.popleft().ended()
    run()
    while waiting:
        yield waiting.popleft().ended()


def _run(runner: BatchRunner, batch: Sequence[tuple[_Waiting[Any], NDArray[np.uint8]]]) -> None:
    found = runner.run(np.stack([window for _, window in batch]))
    for (waiting, _), answer in zip(batch, found, strict=True):
        waiting.answers.append(answer)


class _Waiting(Generic[S]):
    """An image some of whose windows are not answered yet."""

    def __init__(self, item: S, tile: FittedTile | TileError) -> None:
        self._item, self._tile = item, tile
        self.answers: list[NDArray[Any] | EngineError] = []

    @property
    def ready(self) -> bool:
        """Whether nothing is missing."""
        return isinstance(self._tile, TileError) or len(self.answers) == len(self._tile.windows)

    def ended(self) -> tuple[S, NDArray[Any] | TileError]:
        """The image's answer, or why there is none."""
        if isinstance(self._tile, TileError):
            return self._item, self._tile
        answered: list[NDArray[Any]] = []
        for answer in self.answers:
            if isinstance(answer, EngineError):
                return self._item, TileError(f"the engine fails on this tile: {answer}")
            answered.append(answer)
        return self._item, self._tile.join(answered)
