"""Decodes in processes of their own: one that crashes or hangs is replaced, and only its tile fails.

Each process is started afresh (nothing of this one's threads and libraries is copied into it) and loads numpy and OpenCV alone.
A thread that decodes borrows a process, and waits for it; pixels come back through a file in memory.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import LifoQueue
from threading import Lock
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.errors import DlcvError, TileError, UsageError
from dlcv.runtime.isolate.wire import BYTES, ORDER, PATH, READY, REPLY, START_S
from dlcv.runtime.tiles.decode import DecodeOptions, Decoder

KEPT_BYTES = 64 << 20
"""Of its file in memory that a process keeps from one tile to the next."""
MOST_WORDS = 1 << 16


class IsolatedDecoder(Decoder):
    """Decodes as `decode_file` and `decode_bytes` do, in other processes; used inside `with`, from any thread.

    Args:
        options: of all tiles.
        processes: at most; they are started when they are needed.
        limit_s: a tile that takes longer fails, in seconds; None waits for ever.

    Attributes:
        replaced: processes that crashed or hung.
        count_cpu: takes the CPU time of each tile, in seconds, from any thread.

    Raises:
        UsageError: where the system cannot do it.
    """

    def __init__(self, options: DecodeOptions, processes: int, limit_s: float | None = None) -> None:
        if os.name != "posix":
            raise UsageError("--isolate needs Linux or another POSIX system; leave it out")
        super().__init__(options)
        self._limit_s = limit_s
        self._free: LifoQueue[_Process | None] = (
            LifoQueue()
        )  # the last one first, so that few are started where few are needed
        for _ in range(processes):
            self._free.put(None)
        self._all: set[_Process] = set()
        self._closed, self._lock = False, Lock()
        self.replaced = 0
        self.count_cpu: Callable[[float], None] = lambda seconds: None

    def __enter__(self) -> IsolatedDecoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._closed = True
            left = list(self._all)
        for process in left:
            self._end(process)

    @property
    def notices(self) -> list[str]:
        """A line for people where processes were replaced."""
        return [f"{self.replaced} decoding processes crashed or hung and were replaced"] if self.replaced else []

    def decode_file(self, path: Path) -> NDArray[np.uint8]:
        """As `decode.decode_file`.

        Raises:
            TileError: likewise, and when the process crashes or takes too long.
            DlcvError: when no process can be started.
        """
        return self._decoded(PATH, os.fsencode(os.path.abspath(path)))

    def decode_bytes(self, data: bytes) -> NDArray[np.uint8]:
        """As `decode.decode_bytes`.

        Raises:
            As `decode_file`.
        """
        return self._decoded(BYTES, data)

    def _decoded(self, what: int, content: bytes) -> NDArray[np.uint8]:
        with self._borrowed() as process:
            before_s = process.cpu_s
            try:
                return process.decode(what, content, self._limit_s)
            except _Late:
                self._replace(process)
                raise TileError(
                    f"decoding it took longer than {self._limit_s:g} s and was ended; look at its storage, or pass --tile-timeout"
                ) from None
            except (EOFError, BrokenPipeError):
                how = self._replace(process)
                raise TileError(
                    f"decoding it ended the decoder ({how}); the file is damaged, or made to do harm: do not open it elsewhere"
                ) from None
            finally:
                self.count_cpu(process.cpu_s - before_s)

    @contextmanager
    def _borrowed(self) -> Iterator[_Process]:
        process = self._free.get()
        try:
            if process is None or process.ended:
                process = self._started()
            yield process
        finally:
            self._free.put(process)

    def _started(self) -> _Process:
        with self._lock:
            if self._closed:
                raise TileError("the run has ended")
            try:
                process = _Process(self._options)
            except OSError as error:
                raise DlcvError(
                    f"--isolate: no process can be started: {error.strerror or error}; pass fewer --decoders, or run without --isolate"
                ) from error
            self._all.add(process)
        try:
            process.wait_until_ready()
        except (_Late, EOFError):
            how = self._end(process)
            raise DlcvError(
                f"--isolate: the process that decodes did not start ({how}); run without --isolate"
            ) from None
        return process

    def _replace(self, process: _Process) -> str:
        with self._lock:
            self.replaced += not self._closed
        return self._end(process)

    def _end(self, process: _Process) -> str:
        how = process.end()
        with self._lock:
            self._all.discard(process)
        return how


class _Late(Exception):
    """No answer in time."""


class _Process:
    """One process; used by one thread at a time, but for `end`."""

    def __init__(self, options: DecodeOptions) -> None:
        self.cpu_s, self.ended = 0.0, False
        self._busy, self._most_pixels = Lock(), options.max_pixels
        self._pixels = _file_in_memory()
        # the folder that one happens to stand in is no place to import from, as it would be with `python -m`
        code = (
            f"import sys; sys.path[:] = {[entry for entry in sys.path if entry]!r}\n"
            "from dlcv.runtime.isolate.worker import serve\n"
            f"serve({self._pixels}, {options.scale_16bit!r}, {options.max_pixels!r}, {options.max_bytes!r})"
        )
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(self._pixels,)
            )
        except BaseException:
            os.close(self._pixels)
            raise
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders, self._answers = self._process.stdin, self._process.stdout

    def wait_until_ready(self) -> None:
        """Waits for the libraries.

        Raises:
            EOFError, _Late: when it does not come to that.
        """
        self._read(len(READY), time.monotonic() + START_S)

    def decode(self, what: int, content: bytes, limit_s: float | None) -> NDArray[np.uint8]:
        """See `IsolatedDecoder`.

        Raises:
            TileError: what the process says.
            EOFError, BrokenPipeError, _Late: when it says nothing more.
        """
        until = None if limit_s is None else time.monotonic() + limit_s
        with self._busy:
            if self.ended:
                raise EOFError
            self._orders.write(ORDER.pack(what, len(content)) + content)
            self._orders.flush()
            height, width, cpu_us, words = REPLY.unpack(self._read(REPLY.size, until))
            self.cpu_s = cpu_us / 1e6
            if not height or not width:
                raise TileError(self._read(min(words, MOST_WORDS), until).decode("utf-8", "backslashreplace"))
            if height * width > self._most_pixels:
                raise EOFError  # it has lost its mind
            return self._image(height, width)

    def end(self) -> str:
        """Kills it where it still runs; gives how it ended, such as `SIGSEGV`. May be called while another thread decodes."""
        self._process.kill()  # one that has ended by itself keeps its own status
        code = self._process.wait()
        with self._busy:  # what another thread reads from is closed when it has found the end
            if not self.ended:
                self.ended = True
                with suppress(OSError):
                    self._orders.close()
                self._answers.close()
                os.close(self._pixels)
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def _read(self, count: int, until: float | None) -> bytes:
        data = b""
        poll = select.poll()
        poll.register(self._answers, select.POLLIN)
        while len(data) < count:
            left_ms = None if until is None else max(0.0, until - time.monotonic()) * 1000
            if not poll.poll(left_ms):
                raise _Late
            part = os.read(self._answers.fileno(), count - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def _image(self, height: int, width: int) -> NDArray[np.uint8]:
        """Read, not mapped: whatever the process does to the file meanwhile, this one only finds too few bytes."""
        image = np.empty((height, width, 3), np.uint8)
        buffer, at = image.data.cast("B"), 0
        while at < len(buffer):
            count = os.preadv(self._pixels, [buffer[at:]], at)
            if not count:
                raise EOFError
            at += count
        if len(buffer) > KEPT_BYTES:
            os.ftruncate(self._pixels, 0)
        return image


def _file_in_memory() -> int:
    """A descriptor, inherited by no process that is not given it."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("dlcv-pixels", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
