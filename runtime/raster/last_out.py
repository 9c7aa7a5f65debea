"""A file that several threads use and one closes, without waiting for those that are inside, who may hang there."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from dlcv.runtime.errors import TileError

LOOK_S = 0.25
"""How soon a thread that waits for a file learns that it was ended."""


class LastOut:
    """For `with`: one thread at a time is inside. After `end` the file is closed by whoever is inside, when they leave, or at once.

    Args:
        let_go: closes the file; no error of it is told.

    Raises:
        TileError: by `with`, when the file was ended.
    """

    def __init__(self, let_go: Callable[[], object]) -> None:
        self._let_go, self._inside, self._ended = let_go, Lock(), False

    def __enter__(self) -> None:
        while not self._inside.acquire(timeout=LOOK_S):
            if self._ended:  # whoever is inside may hang there
                raise TileError("the run of this image has ended")
        if self._ended:
            self._leave()
            raise TileError("the run of this image has ended")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._leave()

    def end(self) -> None:
        """Lets nobody in any more and closes the file, without waiting; may be called again."""
        self._ended = True
        self._close_if_free()

    def _leave(self) -> None:
        self._inside.release()
        if self._ended:  # asked after the lock was released: else `end` could come between, and nobody would close
            self._close_if_free()

    def _close_if_free(self) -> None:
        if self._inside.acquire(blocking=False):
            try:
                self._let_go()
            finally:
                self._inside.release()
