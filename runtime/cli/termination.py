"""SIGTERM, which a service manager sends: an end as after Ctrl-C, and within seconds whatever the process is at.

What is asked by a signal handler of Python happens between two of its instructions: never, while a library computes for
minutes. So a thread is woken by the same signal and ends the process after `GRACE_S`, if it is still there. That costs nothing
that is finished: files are whole or absent at every moment, as after kill -9.
"""

from __future__ import annotations

import os
import signal
from _thread import get_ident  # `threading` is loaded when it is needed
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from dlcv.runtime.errors import EXIT_TERMINATED

GRACE_S = 4.0
"""Seconds from SIGTERM to the end at the latest; service managers kill after 10 (Docker) or more."""
SAVING_S = 25.0
"""The same while something is being saved that is lost otherwise, see `saving`."""
_saving: list[None] = []
"""One entry for each `saving` that is entered."""
STARTED_BY_TORCHRUN = "TORCHELASTIC_RUN_ID"
"""Stands in the environment of torchrun's processes: it sends SIGTERM to all when one has ended, gives them 30 s, and kills."""
_active: list[int] = []
"""The pipe that the signal writes into, its ends, while `ended_by_sigterm` is at work in this process."""
_masks: dict[int, Any] = {}
"""By thread: the signals that were blocked in it before it forked."""


@contextmanager
def ended_by_sigterm(name: str, came: list[int] | None = None) -> Iterator[Callable[[], bool]]:
    """Within it SIGTERM does what Ctrl-C does; the function given tells whether it came.

    Args:
        name: of the command, for the line that says that it did not end by itself.
        came: takes the signal's number, for a caller who must know of one that came before the function was given.
    """
    came = [] if came is None else came

    def handle(number: int, frame: Any) -> None:
        came.append(number)
        as_ctrl_c = signal.getsignal(signal.SIGINT)  # training has one of its own
        (as_ctrl_c if callable(as_ctrl_c) else signal.default_int_handler)(signal.SIGINT, frame)

    try:
        before = signal.signal(signal.SIGTERM, handle)
    except ValueError:  # not the main thread: the caller handles signals
        yield lambda: False
        return
    stop: Callable[[], None] | None = None
    try:
        stop = _watch(name, came)
        yield lambda: bool(came)
    finally:
        if stop is not None:
            stop()
        signal.signal(signal.SIGTERM, before)


@contextmanager
def saving() -> Iterator[None]:
    """Within it SIGTERM leaves the process `SAVING_S`: to be used where the end follows when all is written."""
    _saving.append(None)
    try:
        yield
    finally:
        _saving.pop()


def _watch(name: str, came: list[int]) -> Callable[[], None]:
    """Starts the thread that ends the process; the function given stops it. What comes is noted, whoever handles it."""
    if os.name == "nt" or _active or STARTED_BY_TORCHRUN in os.environ:
        return lambda: None
    import threading

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    other = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    if other != -1:  # somebody else is woken by signals already
        signal.set_wakeup_fd(other)
        os.close(reader)
        os.close(writer)
        return lambda: None
    _active.extend((reader, writer))
    done = threading.Event()
    thread = threading.Thread(
        target=_end_after_grace, args=(reader, done, name, came), name="dlcv-sigterm", daemon=True
    )
    thread.start()

    def stop() -> None:
        done.set()
        signal.set_wakeup_fd(-1)
        _active.clear()
        os.close(writer)  # the thread reads the end of the file
        thread.join(1.0)

    return stop


def _end_after_grace(reader: int, done: Any, name: str, came: list[int]) -> None:
    while numbers := os.read(reader, 64):
        if signal.SIGTERM in numbers:
            came.append(signal.SIGTERM)
            if not (done.wait(GRACE_S) or (_saving and done.wait(SAVING_S - GRACE_S))):
                with suppress(OSError):
                    os.write(2, f"{name}: ended by SIGTERM; what was finished is whole\n".encode())
                os._exit(EXIT_TERMINATED)
            break
    os.close(reader)


def _before_fork() -> None:
    if _active:
        _masks[get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _in_parent() -> None:
    """What was blocked stays so; and what this thread blocked is free again, though another one has ended the watch meanwhile."""
    if (mask := _masks.pop(get_ident(), None)) is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _in_child() -> None:
    """A forked process is none of this: it ends at once, and must not wake its parent's thread, or hold it up by an open pipe."""
    mask = _masks.pop(get_ident(), None)
    _masks.clear()
    if _active:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for end in _active:
            os.close(end)
        _active.clear()
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
