"""Joining the processes that `torchrun` has started, and how they end together when one of them fails.

The first process that fails leaves a mark in torchrun's store and tells its error; what the others meet then, most often a closed
connection, is told no more, and one that hangs in a GPU's exchange is ended. A process alone does not load torch here.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dlcv.runtime.errors import EXIT_INCOMPLETE, EXIT_INTERRUPTED, DlcvError
from dlcv.train.processes.place import Place, place_of_torchrun

if TYPE_CHECKING:
    from dlcv.train.processes.distributed import Processes

MAIN_FIRST_S = 1.0
"""How long another process waits with an error that the main one is likely to have too."""
TELLING_S = 10.0
"""How long the others wait for the one that tells; torchrun ends all when the first is gone."""
HANGING_S = 5.0
"""How long a process may go on after another has failed."""
_LOOK_EVERY_S = 0.25


@contextmanager
def joined() -> Iterator[Processes | None]:
    """The processes of this run, None of one alone. Of several, one tells an error and all end with its exit code."""
    place = place_of_torchrun()
    if place.size == 1:
        yield None
        return
    import torch
    from torch import distributed as dist
    from torch.distributed.rendezvous import rendezvous

    from dlcv.train.processes.distributed import Torchrun

    store, _, _ = next(rendezvous("env://"))
    if gpus := torch.cuda.is_available() and place.local_rank < torch.cuda.device_count():
        torch.cuda.set_device(place.local_rank)
    backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
    dist.init_process_group(backend, store=store, rank=place.rank, world_size=place.size)
    ending = _Ending(store, place)
    try:
        yield Torchrun(place)
        dist.destroy_process_group()
    except BaseException as error:
        ending.of(error)
        raise
    finally:
        ending.over.set()


class _Ending:
    """Decides who tells of a failure, through the store; ends this process when it does not end by itself.

    Attributes:
        over: set when this process ends, one way or the other.
    """

    def __init__(self, store: Any, place: Place) -> None:
        self._store, self._place = store, place
        self.over = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def of(self, error: BaseException) -> None:
        """Comes back in the process that is to tell `error`.

        Raises:
            SystemExit: in the others, with the exit code of the one that tells.
            DlcvError: when the error is that another process has gone, and that one has told nothing.
        """
        self.over.set()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # from torchrun, for the same reason; it kills in the end
        lost = _is_lost_connection(error)
        try:
            if not self._place.main and not lost:
                self._waited_for("failed", MAIN_FIRST_S)
            if self._store.add("failures", 1) > 1:
                self._waited_for("told", TELLING_S)
                raise SystemExit(int(self._store.get("failed")))
            self._store.set("failed", str(_exit_code(error)))
        except RuntimeError:  # the store has gone with the machine that held it
            if lost:
                raise SystemExit(EXIT_INCOMPLETE) from error
        atexit.register(self._told)  # after the error is printed
        if lost:
            raise DlcvError(
                "another process of this run has ended without a word, killed perhaps or out of memory; torchrun's own report "
                "names it; go on with --resume"
            ) from error

    def _told(self) -> None:
        try:
            self._store.set("told", "")
        except RuntimeError:  # as above
            pass

    def _waited_for(self, key: str, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while not self._store.check([key]):
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        return True

    def _watch(self) -> None:
        while not self.over.wait(_LOOK_EVERY_S):
            try:
                failed = self._store.check(["failed"])
            except RuntimeError:
                return
            if failed:
                if not self.over.wait(HANGING_S):
                    os._exit(int(self._store.get("failed")))
                return


def _is_lost_connection(error: BaseException) -> bool:
    from torch import distributed as dist

    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error).lower())


def _exit_code(error: BaseException) -> int:
    if isinstance(error, DlcvError):
        return error.exit_code
    return EXIT_INTERRUPTED if isinstance(error, KeyboardInterrupt) else EXIT_INCOMPLETE
