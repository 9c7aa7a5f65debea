"""Time and phase of a build, and Ctrl-C."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

from dlcv.export.builders import network
from dlcv.export.builders.build import build_plan
from dlcv.export.builders.options import BuildOptions
from dlcv.export.builders.watch import BuildWatch
from dlcv.runtime.errors import ExportError

onnx = pytest.importorskip("onnx", reason="onnx makes the graphs of these tests")

from builder_double import World, make_builder  # noqa: E402
from plan_graphs import CARD, write_graph  # noqa: E402


@pytest.fixture
def rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheels for this Python")


def _build(tmp_path: Path, say: Any) -> Any:
    graph = write_graph(tmp_path / "tiny.onnx")
    return build_plan(graph, tmp_path / "tiny.plan", card=CARD, options=BuildOptions("tensorrt-rtx"), progress=say)


def test_a_real_build_tells_its_phases(rtx: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[BuildWatch] = []

    def kept(*arguments: Any, **options: Any) -> BuildWatch:
        made.append(BuildWatch(*arguments, **options, interval_s=0.001))
        return made[0]

    monkeypatch.setattr(network, "BuildWatch", kept)
    lines: list[str] = []
    _build(tmp_path, lines.append)
    assert "Building engine" in made[0].phases.seen
    told = [line for line in lines if line.startswith("compiling for 0 s: ")]
    assert any(" of " in line for line in told), lines
    assert lines[-3].startswith("compiled in ")


class _StopAtFirstStep(BuildWatch):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.phases.stopped = True


def test_a_real_build_that_is_stopped_leaves_nothing(rtx: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "BuildWatch", _StopAtFirstStep)
    with pytest.raises(KeyboardInterrupt):
        _build(tmp_path, lambda line: None)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.onnx"]
    monkeypatch.setattr(network, "BuildWatch", BuildWatch)
    assert _build(tmp_path, lambda line: None).path.exists(), "and the next build is none the worse"


def _watched(world: Any, version: str, lines: list[str], interval_s: float = 0.05) -> tuple[BuildWatch, Any]:
    trt = make_builder(world, "tensorrt", version)
    watch = BuildWatch(trt, monitored=version.startswith("1"), say=lines.append, interval_s=interval_s)
    logger = type("Log", (trt.ILogger,), {"log": lambda *_: None})()
    builder = trt.Builder(logger)
    config = builder.create_builder_config()
    if watch.monitor is not None:
        config.progress_monitor = watch.monitor
    return watch, lambda: builder.build_serialized_network(builder.create_network(), config)


@pytest.mark.parametrize(
    ("version", "phase"), [("10.9.0.34", "Building engine, "), ("8.6.0.12", "this builder does not say what it does")]
)
def test_a_long_build_prints_a_line_now_and_then(version: str, phase: str) -> None:
    world, lines = World(), []
    world.build_s = 0.5
    watch, build = _watched(world, version, lines)
    assert watch.run(build, "TensorRT")
    assert len(lines) >= 3
    assert all(re.match(r"compiling for \d+ s: ", line) for line in lines[:-1])
    assert phase in lines[-2]
    assert lines[-1].startswith("compiled in ")


def test_ctrl_c_ends_a_build_that_can_be_stopped() -> None:
    world, lines = World(), []
    world.build_s = 30.0
    watch, build = _watched(world, "10.9.0.34", lines, interval_s=60)
    world.ctrl_c_at = [0.2]
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        watch.run(build, "TensorRT 10.9")
    assert time.monotonic() - begun < 10
    assert lines[0] == "stopping the build"


def test_a_builder_that_cannot_be_stopped_says_so_and_is_left_at_the_second_ctrl_c() -> None:
    world, lines = World(), []
    world.build_s = 30.0
    watch, build = _watched(world, "8.6.0.12", lines, interval_s=60)
    world.ctrl_c_at = [0.2, 0.8]
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        watch.run(build, "TensorRT 8.6")
    assert time.monotonic() - begun < 10, "it was left, not waited for"
    assert lines == ["TensorRT 8.6 cannot be stopped in a build; press Ctrl-C again to leave it"]


def test_what_a_build_raises_is_raised_and_the_machines_memory_is_told() -> None:
    watch = BuildWatch(None, monitored=False, say=lambda line: None)

    def full() -> None:
        raise MemoryError

    with pytest.raises(ExportError, match="this machine's memory ran out during the build"):
        watch.run(full, "X")

    def wrong() -> None:
        raise RuntimeError("of pybind")

    with pytest.raises(RuntimeError, match="of pybind"):
        BuildWatch(None, monitored=False, say=lambda line: None).run(wrong, "X")
