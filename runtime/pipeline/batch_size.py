"""How large a batch should be: `--batch auto`."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import OutOfMemory
from dlcv.runtime.sessions.base import Session

GROWTH = 1.1
"""A batch of twice the size must bring that many times the images a second to be worth its memory."""
LARGEST_BATCH = 256
CPU_BATCH = 8
"""Of a lane, at most. A small image leaves a classifier's last layers little to compute for the weights that they read, and a batch
shares these: ResNet-18 at 64 x 64 takes 0.72 of the CPU time an image at a batch of 8, 0.68 at 16 and 0.66 at 32. At 224 x 224, and
for cnn3 at 48 x 48, all take the same.
"""
CPU_PIXELS = 512 * 512
"""Of segmentation, a window of so many pixels is work enough by itself, and smaller ones are put together up to it, so that a batch
needs no more memory than it does: int8 `fcn8s` of width 0.25 at 160 x 160 takes 0.92 of the time a tile at a batch of 4, 0.90 at 8.
"""
CPU_BATCHES = 64
"""... but not in a run that has fewer batches than this then: each core is to have its share. By the number of tiles, not by that of the
cores, so that a run takes the same batches wherever it is gone on with.
"""


def cpu_batch(session: Session, tiles: int | None) -> int:
    """Of a session on a CPU, by the task, the size of a window and the number of tiles.

    Args:
        session: opened.
        tiles: of the run; None where it is not known.
    """
    return min(_together(session.card, tiles), session.max_batch or CPU_BATCH)


def _together(card: ModelCard, tiles: int | None) -> int:
    if card.task == "classification":
        return CPU_BATCH
    height, width = card.input_size_hw
    together = min(CPU_BATCH, CPU_PIXELS // (height * width))
    return max(1, together if tiles is None else min(together, tiles // CPU_BATCHES))


def automatic_batch(session: Session, clock: Callable[[], float] = time.perf_counter) -> int:
    """The smallest batch that gets nearly most out of a session: 1, 2, 4, ... until twice the size brings little more.

    Stops where memory runs out, and at the session's own largest. What the timed batches hold does not matter to a network.

    Args:
        session: opened.
        clock: seconds.

    Raises:
        EngineError: when the session fails, other than for memory.
    """
    largest = min(LARGEST_BATCH, session.max_batch or LARGEST_BATCH)
    best, best_rate, batch = 1, 0.0, 1
    while batch <= largest:
        try:
            rate = _images_a_second(session, batch, clock)
        except OutOfMemory:
            if batch == 1:
                raise
            break
        if rate < GROWTH * best_rate:
            break
        best, best_rate, batch = batch, rate, batch * 2
    return best


def _images_a_second(session: Session, batch: int, clock: Callable[[], float]) -> float:
    images = np.zeros((batch, *session.card.input_size_hw, 3), np.uint8)
    session.run(images)  # plans, compiles, allocates
    times = []
    for _ in range(3):
        start = clock()
        session.run(images)
        times.append(clock() - start)
    return batch / max(min(times), 1e-9)
