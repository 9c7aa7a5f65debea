"""Slowdowns that are put into our code on purpose, to see the gates fail. Nothing in the runtime knows of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

SLOWER = 3.0
"""A planted piece of work takes this many times longer on top of itself, busy: it scales with the machine."""
PAUSES = 20.0
"""After decoding under a lock, this many times as long as it took, asleep, and `PAUSE_S` at least."""
PAUSE_S = 0.25
"""Longer than a serial loop takes for a tile on a busy machine."""
IMPORT_S, IMPORTS = 0.5, 6
"""A planted import takes this many seconds longer, or this many times numpy's import where that is more."""


@dataclass(frozen=True)
class Plant:
    """A slowdown.

    Attributes:
        what: is slow, in words.
        gates: that must fail.
        put: a context manager in which it is there.
        before: Python for new processes, which puts it there.
    """

    what: str
    gates: tuple[str, ...]
    put: Callable[[], Any]
    before: str = ""


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
    times: float = SLOWER,
    applies: Callable[..., bool] = lambda *_: True,
    clock: Callable[[], float] = time.perf_counter,
) -> Any:
    """`work`, and then `times` as long again in a busy loop, where `applies` says so, by `clock`."""

    def run(*args: Any, **keywords: Any) -> Any:
        start = clock()
        found = work(*args, **keywords)
        if applies(*args):
            until = clock() + (clock() - start) * times
            while clock() < until:
                pass
        return found

    return run


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _decode() -> Any:
    from dlcv.runtime.decode import Decoder

    return replaced(Decoder, "decode_file", lambda work: slower(work, 30, clock=time.thread_time))


def _lock() -> Any:
    """Every tile is decoded under one lock, with a pause: CPU work stays what it was, the cores wait.

    `file-to-file` sees that on a quiet machine alone: where other programs take what we leave, waiting is counted as theirs.
    """
    from threading import Lock

    from dlcv.runtime.decode import Decoder

    one = Lock()

    def wrap(work: Any) -> Any:
        def run(*args: Any) -> Any:
            with one:
                start = time.perf_counter()
                found = work(*args)
                time.sleep(max(PAUSE_S, (time.perf_counter() - start) * PAUSES))
                return found

        return run

    return replaced(Decoder, "decode_file", wrap)


def _session() -> Any:
    from dlcv.runtime.sessions.base import Session

    return replaced(Session, "run", slower)


def _int8() -> Any:
    from dlcv.runtime.sessions.base import Session

    return replaced(Session, "run", lambda work: slower(work, 6, lambda session, *_: session.card.precision == "int8"))


def _slow_import(module: str) -> str:
    lines = (
        "import sys, time",
        "class Slow:",
        "    def find_spec(self, name, path=None, target=None):",
        f"        if name == {module!r}:",
        "            start = time.perf_counter()",
        "            import numpy",
        f"            time.sleep(max({IMPORT_S}, {IMPORTS} * (time.perf_counter() - start)))",
        "sys.meta_path.insert(0, Slow())",
        "",
    )
    return "\n".join(lines)


PLANTS = {
    "decode": Plant("decoding takes thirty-one times as long", ("file-to-file", "serial"), _decode),
    "lock": Plant("tiles are decoded one after the other, with pauses", ("serial",), _lock),
    "session": Plant("a call of a session takes four times as long", ("session",), _session),
    "int8": Plant("a call in int8 takes seven times as long", ("int8-onnxruntime", "int8-openvino"), _int8),
    "import": Plant("importing dlcv.runtime takes half a second more, or more", ("import", "load", "help-dlcv-infer"), _nothing, _slow_import("dlcv.runtime")),
}  # fmt: skip
