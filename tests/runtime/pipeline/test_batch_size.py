"""How large a batch is chosen: as large as it pays, and as fits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dlcv.runtime.errors import EngineError, OutOfMemory
from dlcv.runtime.pipeline.batch_size import automatic_batch


class Clock:
    """Time that passes only in a session's calls."""

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self.now, self._seconds = 0.0, seconds

    def __call__(self) -> float:
        return self.now

    def pass_for(self, images: Any) -> None:
        self.now += self._seconds(len(images))


@pytest.mark.parametrize(
    ("seconds", "fits", "max_batch", "expected"),
    [
        (lambda n: 1.0 + 0.001 * n, None, None, 256),  # all overhead: as large as may be
        (lambda n: 1.0 * n, None, None, 1),  # no overhead
        (lambda n: max(8, n), None, None, 8),  # full at 8
        (lambda n: 1.0 + 0.001 * n, 40, None, 32),  # memory for 40
        (lambda n: 1.0 + 0.001 * n, None, 12, 8),  # built for 12
        (lambda n: 1.0 + 0.001 * n, None, 1, 1),
    ],
)
def test_the_batch_grows_as_long_as_it_pays(
    stand_in: Any, seconds: Callable[[int], float], fits: int | None, max_batch: int | None, expected: int
) -> None:
    clock = Clock(seconds)
    session = stand_in.StandIn(device="cuda", fits=fits, before=clock.pass_for)
    session.max_batch = max_batch
    assert automatic_batch(session, clock) == expected


def test_a_session_that_cannot_run_at_all_is_not_tried_out(stand_in: Any) -> None:
    with pytest.raises(OutOfMemory):
        automatic_batch(stand_in.StandIn(fits=0))
    with pytest.raises(EngineError, match="has gone"):
        automatic_batch(stand_in.StandIn(dead_from=1))
