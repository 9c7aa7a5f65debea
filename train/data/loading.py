"""Batches from worker processes, in steps, and how long training waits for them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dlcv.runtime.errors import DatasetError, UsageError, one_line
from dlcv.train.data.examples import EpochBatches, Key, TrainingImages

Batch = tuple[Tensor, Tensor]
T = TypeVar("T")

_AHEAD = 2
"""Batches that a worker is asked for before they are wanted."""


class Steps:
    """The batches of an epoch's steps, as `batches` says when it is iterated over; workers live on from epoch to epoch.

    Workers write into a few buffers that are used again: a step's batches are good until the next step is asked for.

    Args:
        images: augmented.
        batches: their order.
        workers: processes that decode; 0 decodes in this process.
        pin: whether batches are put into pinned memory, for a GPU.
    """

    def __init__(self, images: TrainingImages, batches: EpochBatches, *, workers: int, pin: bool) -> None:
        self.batches = batches
        self.waited_s = 0.0
        options: dict[str, Any] = {
            "num_workers": workers, "worker_init_fn": begin_worker, "persistent_workers": workers > 0,
            "generator": torch.Generator(),  # its own, so that a loader made anew on resume leaves torch's state as it was
        }  # fmt: skip
        self._slots: _Slots | None = None
        if pin or not workers:  # for a GPU torch's own thread takes batches over and pins them meanwhile
            self._loader: DataLoader[Any] = DataLoader(images, batch_sampler=batches, pin_memory=pin, **options)
        else:
            self._slots = _Slots(images, batches.most, _AHEAD * workers + batches.accumulate)
            numbered = _Numbered(batches, self._slots.count)
            self._loader = DataLoader(
                self._slots, sampler=numbered, batch_size=None, collate_fn=tuple, prefetch_factor=_AHEAD, **options
            )

    def __iter__(self) -> Iterator[list[Batch]]:
        """Gives the batches of each step; `waited_s` is the seconds that were waited for them, from 0 on each call."""
        self.waited_s = 0.0
        step: list[Batch] = []
        for item in self._timed(_told_plainly(self._loader)):
            step.append(item if self._slots is None else self._slots.batch(*item))
            if len(step) == self.batches.accumulate:
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


class _Numbered:
    """Batches, each with the slot that it goes into: in turn."""

    def __init__(self, batches: EpochBatches, slots: int) -> None:
        self._batches, self._slots = batches, slots

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[int, list[Key]]]:
        for number, keys in enumerate(self._batches):
            yield number % self._slots, keys


class _Slots(Dataset[tuple[int, int]]):
    """Whole batches, in memory that workers and training share, so that only a slot's number passes between them.

    torch hands over a file descriptor a tensor instead, which takes a process about a millisecond each and its memory's first
    touch anew: 3 % of a step of 70 ms were seen. With `ahead` batches asked for, those of the step in hand and no more
    slots, a batch is written over only when the step after its own has been asked for.

    Args:
        images: augmented.
        most: images in a batch, at most.
        count: how many slots.
    """

    def __init__(self, images: TrainingImages, most: int, count: int) -> None:
        self._source, self.count = images, count
        pictures = torch.zeros(count, most, *images.image_shape, dtype=torch.uint8)
        labels = torch.zeros(count, most, *images.label_shape, dtype=torch.int64)
        try:
            self._images, self._labels = (each.share_memory_() for each in (pictures, labels))  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            reason = one_line(str(error).partition("\n")[0])
            megabytes = (pictures.nbytes + labels.nbytes) / 1e6
            raise UsageError(
                f"{megabytes:.0f} MB of shared memory for {count} batches from workers are not to be had ({reason}); pass "
                "fewer --workers or a smaller --batch, or give a container more (--shm-size)"
            ) from error

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, item: tuple[int, list[Key]]) -> tuple[int, int]:
        """Fills a slot; gives its number and how many images it has."""
        slot, keys = item
        for position, key in enumerate(keys):
            self._images[slot, position], self._labels[slot, position] = self._source[key]
        return slot, len(keys)

    def batch(self, slot: int, count: int) -> Batch:
        """What is in a slot: images uint8 (count, crop, crop, 3) and labels int64, views."""
        return self._images[slot, :count], self._labels[slot, :count]


def _told_plainly(batches: Iterable[Any]) -> Iterator[Any]:
    """The same batches; a worker's error, whose text torch fills with a traceback, is told in its own sentence again."""
    try:
        yield from batches
    except DatasetError as error:
        last = str(error).strip().splitlines()[-1]
        raise DatasetError(last.removeprefix(f"{DatasetError.__module__}.{DatasetError.__qualname__}: ")) from error


def begin_worker(number: int) -> None:
    """What a worker does first. Ctrl-C, and torchrun's signals, reach a whole group; the training process decides."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    quiet_worker(number)


def quiet_worker(_: int) -> None:
    """Leaves Ctrl-C to the training process, and cores to the other workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
