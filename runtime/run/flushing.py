"""`--fsync`: what a run writes reaches the disk while it goes, so that a power cut costs seconds of it.

A file that has its final name is with the operating system, and `kill -9` does not take it away; the system writes it to the disk some
30 seconds later. One `syncfs` now and then, in a thread of its own, flushes all files of many tiles at once, where an `fsync` each would
wait for the disk as often. Rows of the manifest are not held back for it: a row whose file was lost is known by the file's size.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from threading import Event, Thread
from types import TracebackType

from dlcv.runtime.errors import OutputError, UsageError

EVERY_S = 5.0
"""Seconds between two flushes."""


def require_flush() -> None:
    """Sees to it that this system can.

    Raises:
        UsageError: when it cannot.
    """
    if not hasattr(os, "sync"):
        raise UsageError("--fsync: this system flushes single files only; leave it out")


def flush(folder: Path) -> None:
    """Waits until all that was written to the file system of `folder` is on its disk.

    Raises:
        OutputError: when the disk refused some of it.
    """
    try:
        place = os.open(folder, os.O_RDONLY)
        try:
            _sync(place)
        finally:
            os.close(place)
    except OSError as error:
        raise OutputError(
            f"not all of {folder} is on the disk: {error.strerror or error}; look at the disk, and start again with --overwrite"
        ) from error


class Flushing:
    """Inside `with` a thread flushes every `EVERY_S` seconds; at its end all is flushed once more.

    Args:
        folder: of the run; None flushes nothing.

    Raises:
        OutputError: at the end, when the disk refused something.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder, self._over = folder, Event()
        self._thread = Thread(target=self._run, name="dlcv-flush", daemon=True)
        self._error: OutputError | None = None

    def __enter__(self) -> Flushing:
        if self._folder is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is None:
            return
        self._over.set()
        while self._thread.is_alive():
            self._thread.join(0.2)  # so that Ctrl-C is heard while a slow disk is waited for
        if error is None and self._error is not None:
            raise self._error

    def _run(self) -> None:
        assert self._folder is not None, "there is no thread without a folder"
        over = False
        while not over:
            over = self._over.wait(EVERY_S)
            try:
                flush(self._folder)
            except OutputError as error:
                self._error = self._error or error


def _sync(place: int) -> None:
    """`syncfs` where there is one (Linux), which flushes one file system and tells of errors; else `sync`."""
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        os.sync()
    elif syncfs(place) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
