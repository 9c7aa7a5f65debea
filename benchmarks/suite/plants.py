"""Slowdowns that are put into our code on purpose, to see the gates fail. Nothing in the runtime knows of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

HALF_AGAIN = 1.5
PAUSE_S = 0.25
"""After decoding under a lock, at least; longer than a serial loop takes for a tile on a busy machine."""
LONGEST_TILE_S = 0.05
"""CPU between two tiles of a run; what took more was its beginning."""


@dataclass(frozen=True)
class Plant:
    """A slowdown.

    Attributes:
        what: takes longer, in words.
        gates: that must fail.
        put: how many times as long it is to take -> a context manager in which it does.
        times: so many, unless others are asked for: what every one of its gates catches.
        before: likewise -> Python for new processes, which does it there.
    """

    what: str
    gates: tuple[str, ...]
    put: Callable[[float], Any]
    times: float = HALF_AGAIN
    before: Callable[[float], str] = lambda times: ""


@contextmanager
def replaced(owner: Any, name: str, wrap: Callable[[Any], Any]) -> Iterator[None]:
    """An attribute, wrapped for a while."""
    original = getattr(owner, name)
    setattr(owner, name, wrap(original))
    try:
        yield
    finally:
        setattr(owner, name, original)


def slower(
    work: Any,
    times: float,
    applies: Callable[..., bool] = lambda *_: True,
    clock: Callable[[], float] = time.process_time,
) -> Any:
    """`work`, and then a busy loop until it took `times` as long, where `applies` says so, by `clock`: it scales with the machine."""

    def run(*args: Any, **keywords: Any) -> Any:
        start = clock()
        found = work(*args, **keywords)
        if applies(*args):
            until = start + (clock() - start) * times
            while clock() < until:
                pass
        return found

    return run


def again(work: Any, times: float) -> Any:
    """`work`, and so many times more of it, over many calls, as makes `times`: no clock, which would cost more than a short call."""
    left = [0.0]

    def run(*args: Any, **keywords: Any) -> Any:
        left[0] += times - 1
        while left[0] >= 1:
            left[0] -= 1
            work(*args, **keywords)
        return work(*args, **keywords)

    return run


@contextmanager
def _nothing(times: float) -> Iterator[None]:
    yield


def _decode(times: float) -> Any:
    from dlcv.runtime.tiles.decode import Decoder

    return replaced(Decoder, "decode_file", lambda work: slower(work, times, clock=time.thread_time))


def _encode(times: float) -> Any:
    from dlcv.runtime import masks

    return replaced(masks, "encode_mask", lambda work: slower(work, times))


def _session(times: float) -> Any:
    from dlcv.runtime.sessions.base import Session

    return replaced(Session, "run", lambda work: slower(work, times))


def _call(times: float) -> Any:
    from dlcv.runtime.sessions.base import Session

    return replaced(Session, "run", lambda work: again(work, times))


def _int8(times: float) -> Any:
    from dlcv.runtime.sessions.base import Session

    return replaced(
        Session, "run", lambda work: slower(work, times, lambda session, *_: session.card.precision == "int8")
    )


def _tile(times: float) -> Any:
    """At each row of the manifest, a busy loop in proportion to the CPU time since the row before."""
    from dlcv.runtime.records.manifest import Manifest

    last = [0.0]

    def wrap(work: Any) -> Any:
        def add(*args: Any) -> Any:
            found, now = work(*args), time.process_time()
            more = (times - 1) * min(now - last[0], LONGEST_TILE_S)
            until = time.thread_time() + more
            while time.thread_time() < until:
                pass
            last[0] = now + more  # what other threads do meanwhile counts for the next row
            return found

        return add

    return replaced(Manifest, "add", wrap)


def _lock(times: float) -> Any:
    """Every tile is decoded under one lock, with a pause: CPU work stays what it was, the cores wait.

    `file-to-file` sees that on a quiet machine alone: where other programs take what we leave, waiting is counted as theirs.
    """
    from threading import Lock

    from dlcv.runtime.tiles.decode import Decoder

    one = Lock()

    def wrap(work: Any) -> Any:
        def run(*args: Any) -> Any:
            with one:
                start = time.perf_counter()
                found = work(*args)
                time.sleep(max(PAUSE_S, (time.perf_counter() - start) * (times - 1)))
                return found

        return run

    return replaced(Decoder, "decode_file", wrap)


def _slow_import(times: float) -> str:
    """At its end, a process that has imported dlcv.runtime works on until it has taken `times` the CPU time."""
    lines = (
        "import atexit, sys, time",
        "def slow():",
        f"    until = time.process_time() * {times} if 'dlcv.runtime' in sys.modules else 0",
        "    while time.process_time() < until:",
        "        pass",
        "atexit.register(slow)",
        "",
    )
    return "\n".join(lines)


PLANTS = {
    "decode": Plant("reading a file", ("decode",), _decode),
    "encode": Plant("a mask to a palette PNG", ("encode",), _encode),
    "session": Plant("a call of a session", ("session",), _session),
    "call": Plant("our Python around a session's call", ("call",), _call),
    "tile": Plant("all that a tile costs", ("tile",), _tile, times=3),
    "int8": Plant("a call in int8", ("int8-onnxruntime", "int8-openvino"), _int8, times=2.0),
    "import": Plant("a process that imports dlcv.runtime", ("import", "load", "help-dlcv-infer"), _nothing, before=_slow_import, times=2),
    "pipeline": Plant("reading a file", ("file-to-file", "serial"), _decode, times=31),
    "lock": Plant("reading a file, one after the other, with pauses of 0.25 s and more", ("serial",), _lock, times=21),
}  # fmt: skip
