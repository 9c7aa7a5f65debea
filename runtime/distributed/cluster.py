"""Ray: loaded on first use, joined or started, and asked what its machines have."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any

from dlcv.runtime.errors import EngineError, MissingPackageError, UsageError
from dlcv.runtime.machine import cpu_count

LOCAL = "local"
WAIT_S = 10.0
"""Seconds without any answer after which a person is told what is waited for."""


@dataclass(frozen=True)
class Layout:
    """Workers of one size, each with a session of its own.

    Attributes:
        workers: how many.
        cpus: cores of each, at least 1.
        gpus: 1 where each has a GPU, else 0.
    """

    workers: int
    cpus: int
    gpus: int

    def __str__(self) -> str:
        size = f"{self.cpus} core{'s' if self.cpus > 1 else ''}" + (" and a GPU" if self.gpus else "")
        return (
            f"{self.workers} worker{'s of' if self.workers > 1 else ' of'} {size}{' each' if self.workers > 1 else ''}"
        )


@contextmanager
def joined(address: str) -> Iterator[Any]:
    """Ray's module, joined to a cluster inside `with`; one that this process has joined before is used and stays.

    Args:
        address: of the cluster, `auto` for the one of this machine, or `local`: started here and stopped at the end.

    Raises:
        MissingPackageError: when Ray is not installed.
        EngineError: when there is no cluster at that address.
    """
    if address == LOCAL:  # what a tool does on one machine is told to nobody; a cluster's owner has decided for himself
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # by Ray's own choice workers run at niceness 15: beside anything else on this machine they got 1/28 of a core
        os.environ.setdefault("RAY_worker_niceness", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # as Ray will do; until then it warns
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingPackageError("ray", "run on several machines", "pip install 'dlcv-edge[ray]'") from error
    if ray.is_initialized():
        yield ray
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    sigterm = signal.getsignal(signal.SIGTERM)
    try:
        if address == LOCAL:
            ray.init(address=LOCAL, num_cpus=cpu_count(), include_dashboard=False, **quiet)
        else:
            _knock(address)
            ray.init(address=address, **quiet)
    except Exception as error:  # ConnectionError, ValueError, RuntimeError, ray's own, by release
        words = " ".join(str(error).split())[:300]
        raise EngineError(f"no Ray cluster at {address}: {words}; {_advice(address)}") from error
    try:
        _handled_by(sigterm)
        yield ray
    finally:
        ray.shutdown()
        _handled_by(sigterm)


def _advice(address: str) -> str:
    if address != LOCAL and "RAY_AUTH_MODE" not in os.environ:
        return (
            "start one with: ray start --head; to one with token authentication, as its start says: RAY_AUTH_MODE=token"
        )
    return "start one with: ray start --head"


@contextmanager
def waiting(say: Callable[[str], None], what: Callable[[float], str], every_s: float = WAIT_S) -> Iterator[Event]:
    """Says what is waited for, each `every_s` seconds, until the event that it gives is set, or the end.

    Args:
        say: takes a line.
        what: gives the line, from the seconds so far; one that fails is left out.
        every_s: first after these seconds, then after twice as many, and so on.
    """
    over, started = Event(), time.monotonic()

    def tell() -> None:
        pause = every_s
        while not over.wait(pause):
            pause *= 2
            with suppress(Exception):  # a cluster that does not answer is heard of where the tiles are
                say(what(time.monotonic() - started))

    Thread(target=tell, name="dlcv-waiting", daemon=True).start()
    try:
        yield over
    finally:
        over.set()


@contextmanager
def without_lines(word: bytes, descriptor: int = 2) -> Iterator[None]:
    """Inside, lines with `word` that anything in this process writes to `descriptor` are left out: Ray's C++ tells a user of its own affairs
    there, at a level that cannot be turned down without another such line.
    """
    kept = os.dup(descriptor)
    reader, writer = os.pipe()
    os.dup2(writer, descriptor)
    os.close(writer)
    lines = re.compile(rb"[^\n]*" + re.escape(word) + rb"[^\n]*\n?")

    def forward() -> None:
        while data := os.read(
            reader, 1 << 16
        ):  # a line of theirs comes in one piece, and a bar of ours without its end
            if rest := lines.sub(b"", data) if word in data else data:
                with suppress(OSError):
                    os.write(kept, rest)

    thread = Thread(target=forward, name="dlcv-lines", daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.dup2(kept, descriptor)
        thread.join(2)  # longer only where another process was given the descriptor, and then the thread stays
        if not thread.is_alive():
            os.close(reader)
            os.close(kept)


def _handled_by(sigterm: Any) -> None:
    """Gives SIGTERM back to who had it: Ray takes it, in Python and in C beneath, and at its end leaves the system's default in C."""
    with suppress(ValueError, TypeError):  # in another thread than the main one; a handler that Python did not set
        signal.signal(signal.SIGTERM, sigterm)


def _knock(address: str) -> None:
    """Sees to it that somebody listens there: Ray itself tries for minutes, and ends the process then.

    Raises:
        OSError: when nobody does within 10 seconds.
    """
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def layout_of(nodes: Sequence[Mapping[str, float]], device: str, workers: int | None) -> Layout:
    """A worker a GPU where there are GPUs and `device` does not say `cpu`; else one a machine, or as many as asked for.

    Args:
        nodes: of each machine, how much it has of `CPU` and `GPU`.
        device: `auto`, `cpu` or `cuda`.
        workers: how many; None: as many as there are places.

    Raises:
        UsageError: when the cluster has no GPU or fewer places than were asked for.
    """
    gpus = [int(node.get("GPU", 0)) for node in nodes]
    cores = [int(node.get("CPU", 0)) for node in nodes]
    on_gpus = device != "cpu" and sum(gpus) > 0
    if device == "cuda" and not on_gpus:
        raise UsageError("--device cuda: the Ray cluster has no GPU; leave it out")
    places = [min(gpu, core) for gpu, core in zip(gpus, cores)] if on_gpus else cores
    if not sum(places):
        raise UsageError("the Ray cluster has no free place for a worker: each needs a core; add machines to it")
    if workers is not None and workers > sum(places):
        raise UsageError(f"--ray-workers {workers}: the Ray cluster has room for {sum(places)}; ask for fewer")
    if on_gpus:
        share = min(core // place for core, place in zip(cores, places) if place)
        return Layout(workers or sum(places), share, 1)
    used = [core for core in cores if core]
    if workers is None:
        return Layout(len(used), min(used), 0)
    size = max(size for size in range(1, max(used) + 1) if sum(core // size for core in used) >= workers)
    return Layout(workers, size, 0)
