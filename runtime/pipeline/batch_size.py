"""How large a batch should be: `--batch auto`."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from dlcv.runtime.errors import OutOfMemory
from dlcv.runtime.sessions.base import Session

GROWTH = 1.1
"""A batch of twice the size must bring that many times the images a second to be worth its memory."""
LARGEST_BATCH = 256


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
