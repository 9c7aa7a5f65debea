"""Batches from worker processes, in steps, and how long training waits for them."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dlcv.runtime.errors import DatasetError
from dlcv.train.data.examples import EpochBatches, TrainingImages

Batch = tuple[Tensor, Tensor]
T = TypeVar("T")


class Steps:
    """The batches of an epoch's steps, as `batches` says when it is iterated over; workers live on from epoch to epoch.

    Args:
        images: augmented.
        batches: their order.
        workers: processes that decode; 0 decodes in this process.
        pin: whether batches are put into pinned memory, for a GPU.
    """

    def __init__(self, images: TrainingImages, batches: EpochBatches, *, workers: int, pin: bool) -> None:
        self._accumulate = batches.accumulate
        self.waited_s = 0.0
        self._loader: DataLoader[Any] = DataLoader(
            images, batch_sampler=batches, num_workers=workers, worker_init_fn=quiet_worker, pin_memory=pin,
            persistent_workers=workers > 0,
            generator=torch.Generator(),  # its own, so that a loader made anew on resume leaves torch's state as it was
        )  # fmt: skip

    def __iter__(self) -> Iterator[list[Batch]]:
        """Gives the batches of each step; `waited_s` is the seconds that were waited for them, from 0 on each call."""
        self.waited_s = 0.0
        step: list[Batch] = []
        for batch in self._timed(_told_plainly(self._loader)):
            step.append(batch)
            if len(step) == self._accumulate:
                yield step
                step = []

    def _timed(self, items: Iterable[T]) -> Iterator[T]:
        iterator = iter(items)
        while True:
            started = time.perf_counter()
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self.waited_s += time.perf_counter() - started
            yield item


def _told_plainly(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The same batches; a worker's error, whose text torch fills with a traceback, is told in its own sentence again."""
    try:
        yield from batches
    except DatasetError as error:
        last = str(error).strip().splitlines()[-1]
        raise DatasetError(last.removeprefix(f"{DatasetError.__module__}.{DatasetError.__qualname__}: ")) from error


def quiet_worker(_: int) -> None:
    """What a worker does first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the training process decides
    torch.set_num_threads(1)
