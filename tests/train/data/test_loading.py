"""Steps of batches, and the time that is waited for them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch

from dlcv.runtime.datasets.masks.tiles import SegmentationSet
from dlcv.train.data.augment import Augmentation
from dlcv.train.data.examples import EpochBatches, Key, TrainingImages
from dlcv.train.data.loading import Steps


class Slow(TrainingImages):
    """Each image takes 20 ms longer."""

    def __getitem__(self, key: Key) -> tuple[torch.Tensor, torch.Tensor]:
        time.sleep(0.02)
        return super().__getitem__(key)


def steps_of(training: SegmentationSet, kind: type[TrainingImages] = TrainingImages, **options: int) -> Steps:
    batches = EpochBatches(len(training), 2, 0, accumulate=options.pop("accumulate", 1))
    return Steps(kind(training, Augmentation(32), 0), batches, workers=options.get("workers", 0), pin=False)


def test_a_step_is_as_many_batches_as_are_accumulated(training: SegmentationSet) -> None:
    steps = list(steps_of(training, accumulate=2))
    assert [len(step) for step in steps] == [2, 2]
    assert all(images.shape == (2, 32, 32, 3) for step in steps for images, _ in step)


def test_waiting_is_measured_and_work_is_not(training: SegmentationSet) -> None:
    steps = steps_of(training, Slow)
    for _ in steps:
        time.sleep(0.05)
    # 8 images of at least 20 ms; of the 200 ms of work none, with room for a busy machine
    assert steps.waited_s >= 0.16
    started = time.perf_counter()
    for _ in steps:
        time.sleep(0.05)
    assert steps.waited_s <= time.perf_counter() - started - 0.2


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")  # torch's workers, Python 3.12
def test_workers_live_on_and_follow_the_epoch(training: SegmentationSet) -> None:
    steps, alone = steps_of(training, workers=1), steps_of(training)
    processes = []
    for epoch in (1, 2):
        for each in (steps, alone):
            each.batches.epoch = epoch
        for helped, own in zip(steps, alone, strict=True):
            assert torch.equal(helped[0][0], own[0][0])
        processes.append([worker.pid for worker in steps._loader._iterator._workers])  # type: ignore[union-attr]
    assert processes[0] == processes[1]


def test_an_empty_rest_gives_no_step(training: SegmentationSet, tmp_path: Path) -> None:
    steps = steps_of(training)
    steps.batches.start = 4
    assert list(steps) == []


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize(("workers", "accumulate"), [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_a_batch_stays_until_the_next_step_is_asked_for(
    training: SegmentationSet, workers: int, accumulate: int
) -> None:
    """Workers are given the time to write over it, in more epochs than there are buffers for."""
    helped = steps_of(training, workers=workers, accumulate=accumulate)
    alone = steps_of(training, accumulate=accumulate)
    for epoch in range(1, 5):
        helped.batches.epoch = alone.batches.epoch = epoch
        for step, expected in zip(helped, alone, strict=True):
            time.sleep(0.05)  # a worker has written all that it was asked for
            for one, other in zip(step, expected, strict=True):
                assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_worker_is_out_of_reach_of_signals_to_the_training_processes(training: SegmentationSet) -> None:
    steps = steps_of(training, workers=1)
    list(steps)
    (worker,) = steps._loader._iterator._workers  # type: ignore[union-attr]
    assert os.getpgid(worker.pid) == worker.pid != os.getpgid(os.getpid())
