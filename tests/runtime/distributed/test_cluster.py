"""How many workers a cluster gets, of which size; and Ray where it is missing."""

from __future__ import annotations

import os
import signal
import sys
import types
from pathlib import Path
from threading import Event

import pytest

from dlcv.runtime.distributed.cluster import Layout, joined, layout_of, waiting, without_lines
from dlcv.runtime.errors import EngineError, MissingPackageError, UsageError

Nodes = list[dict[str, float]]
CPUS: Nodes = [{"CPU": 8.0}, {"CPU": 4.0}, {"memory": 1e9}]
GPUS: Nodes = [{"CPU": 32.0, "GPU": 8.0}, {"CPU": 8.0, "GPU": 1.0}, {"CPU": 64.0}]


@pytest.mark.parametrize(
    ("nodes", "device", "workers", "expected"),
    [
        (CPUS, "auto", None, Layout(2, 4, 0)),  # one a machine, as large as the smallest; a head without cores is none
        (CPUS, "auto", 1, Layout(1, 8, 0)),
        (CPUS, "auto", 3, Layout(3, 4, 0)),
        (CPUS, "cpu", 12, Layout(12, 1, 0)),
        (GPUS, "auto", None, Layout(9, 4, 1)),
        (GPUS, "cuda", 2, Layout(2, 4, 1)),
        (GPUS, "cpu", None, Layout(3, 8, 0)),
        ([{"CPU": 2.0}], "auto", 2, Layout(2, 1, 0)),
        ([{"CPU": 2.0, "GPU": 4.0}], "auto", None, Layout(2, 1, 1)),  # a GPU without a core for it stays idle
    ],
)
def test_layout(nodes: Nodes, device: str, workers: int | None, expected: Layout) -> None:
    assert layout_of(nodes, device, workers) == expected


def test_what_a_cluster_does_not_have() -> None:
    with pytest.raises(UsageError, match="--ray-workers 13: the Ray cluster has room for 12; ask for fewer"):
        layout_of(CPUS, "auto", 13)
    with pytest.raises(UsageError, match="--device cuda: the Ray cluster has no GPU; leave it out"):
        layout_of(CPUS, "cuda", None)
    with pytest.raises(UsageError, match="no free place for a worker: each needs a core"):
        layout_of([{"memory": 1.0}], "auto", None)


def test_layouts_in_words() -> None:
    assert str(Layout(1, 1, 0)) == "1 worker of 1 core"
    assert str(Layout(8, 4, 1)) == "8 workers of 4 cores and a GPU each"


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(
            MissingPackageError,
            match=r"^ray is needed to run on several machines; install it with: pip install 'dlcv-edge\[ray\]'$",
        ),
        joined("local"),
    ):
        pass


def test_sigterm_stays_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray takes the signal at its start, so that a command ended with exit code 15, a stack trace and no word of --resume."""
    heard: list[str] = []
    ray = types.ModuleType("ray")
    ray.is_initialized = lambda: False  # type: ignore[attr-defined]
    ray.init = lambda **how: signal.signal(signal.SIGTERM, lambda *_: heard.append("ray"))  # type: ignore[attr-defined]
    ray.shutdown = lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL)  # type: ignore[attr-defined]
    ray.data = types.ModuleType("ray.data")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", ray.data)
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append("the command"))
    try:
        with joined("local"):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == ["the command"] * 2


def test_nobody_at_that_address() -> None:
    pytest.importorskip("ray", reason="the ray extra is not installed")
    with (
        pytest.raises(
            EngineError, match=r"^no Ray cluster at 127\.0\.0\.1:9: .*refused; start one with: ray start --head.*$"
        ),
        joined("127.0.0.1:9"),  # a port on which nobody listens
    ):
        pass


def test_lines_of_somebody_else_are_left_out(tmp_path: Path) -> None:
    """What is written in Python and beneath it, with and without the end of a line; afterwards all is as it was."""
    place = os.open(tmp_path / "said", os.O_WRONLY | os.O_CREAT)
    try:
        with without_lines(b"core_worker.cc", place):
            for text in (b"tiles [#---]", b"\n[now] core_worker.cc:2465: Actor with\n", b"a line\n"):
                os.write(place, text)
        os.write(place, b"core_worker.cc is written again\n")
    finally:
        os.close(place)
    assert (tmp_path / "said").read_bytes() == b"tiles [#---]\na line\ncore_worker.cc is written again\n"


def test_what_is_waited_for_is_told_until_there_is_an_answer() -> None:
    said: list[str] = []
    told = Event()

    def what(seconds: float) -> str:
        if len(said) == 1:
            raise OSError("the cluster does not answer")
        return f"{seconds >= 0}"

    def say(line: str) -> None:
        said.append(line)
        told.set()

    with waiting(say, what, every_s=0.01):
        assert told.wait(60)
    with waiting(said.append, what, every_s=60) as answered:
        answered.set()
    assert said == ["True"]
