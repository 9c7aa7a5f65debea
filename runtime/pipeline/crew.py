"""The threads of all stages together: begun, waited for, and exchanged for others when a call that one is in never comes back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dlcv.runtime.pipeline.workers import Worker

LAST_READS_S = 5.0
"""How long the end of work that is cut short waits for what is being read."""


class Crew:
    """Workers by stage.

    Args:
        end: called in a worker's thread when its body has ended, with its error; not of one that was left behind.
        left_s: stage -> seconds after which a worker that is at one task is left behind; None or missing: never.

    Attributes:
        ever: all that there were, those that were left behind too.
    """

    def __init__(self, end: Callable[[BaseException | None], None], left_s: Mapping[str, float | None]) -> None:
        self._end, self._left_s = end, {stage: limit_s for stage, limit_s in left_s.items() if limit_s is not None}
        self._present: list[Worker] = []
        self.ever: list[Worker] = []
        self.look_every_s = min(1.0, max(0.01, min(self._left_s.values()) / 4)) if self._left_s else None
        """How often `late` should be asked; None: never."""
        self._looked = time.monotonic()

    def __len__(self) -> int:
        """How many there are, those that were left behind not among them."""
        return len(self._present)

    def hire(self, stage: str, body: Callable[[Worker], None], count: int) -> None:
        """So many more of a stage; they begin with `start`."""
        new = [Worker(stage, body, self._end) for _ in range(count)]
        self._present += new
        self.ever += new

    def start(self) -> None:
        """Begins those that were hired."""
        for worker in list(self._present):
            worker.thread.start()

    def late(self, patient_from: Callable[[str], float] = lambda stage: 0.0) -> Iterator[tuple[Worker, Any]]:
        """Leaves those behind that have been at one task for too long, each with that task; nothing before it is time to look again.

        Args:
            patient_from: stage -> no time before this one counts, by `time.monotonic`.
        """
        if self.look_every_s is None or time.monotonic() - self._looked <= self.look_every_s:
            return
        self._looked = time.monotonic()
        for worker in list(self._present):
            limit_s = self._left_s.get(worker.stage)
            task = None if limit_s is None else worker.leave_if_late(limit_s, patient_from(worker.stage))
            if task is not None:
                yield worker, task

    def replace(self, worker: Worker, body: Callable[[Worker], None]) -> None:
        """Another one, begun, in the place of one that was left behind."""
        self._present.remove(worker)
        new = Worker(worker.stage, body, self._end)
        self._present.append(new)
        self.ever.append(new)
        new.thread.start()

    def join(self) -> set[str]:
        """Waits for all that are not left behind: for those that read `LAST_READS_S` in all, for the others as long as their stage is
        given; the stages of which one has not ended."""
        read_until = time.monotonic() + LAST_READS_S
        return {
            worker.stage
            for worker in self._present
            if not worker.join(
                max(0.0, read_until - time.monotonic()) if worker.stage == "decode" else self._left_s.get(worker.stage)
            )
        }
