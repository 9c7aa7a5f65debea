"""CUDA events and the bare TensorRT loop, through the double of TensorRT and pycuda (its signatures: test_trt_double.py)."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trt_double import CARD

from dlcv.benchmarks.bench.bare_tensorrt import TensorrtLoop
from dlcv.benchmarks.bench.baselines import Work, open_baselines
from dlcv.benchmarks.bench.cuda_events import seconds_between_events
from dlcv.runtime.errors import EngineError
from dlcv.runtime.sessions import cuda
from dlcv.runtime.sessions.trt import open_plan

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 4, 6, 3), dtype=np.uint8)


@pytest.fixture
def plan(double: Any, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.plan"
    path.write_bytes(double.plan_bytes(CARD.to_json()))
    return path


@pytest.fixture
def full(double: Any, world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plan of full TensorRT, whose batches become CUDA graphs; TensorRT-RTX's do not."""
    path: Path = double.write_full_plan(world, tmp_path, monkeypatch)
    return path


def test_the_bare_loop_gives_what_our_session_gives(world: Any, plan: Path) -> None:
    with open_plan(plan) as session, TensorrtLoop(plan) as loop:
        for images in (IMAGES, IMAGES[:1], IMAGES):
            expected = session.run(images)
            found = loop.run(images)
            assert set(found) == set(expected)
            for name, values in expected.items():
                np.testing.assert_array_equal(found[name], values)


def test_device_time_is_what_lies_between_the_events(world: Any, full: Path) -> None:
    with TensorrtLoop(full) as loop:
        loop.device_seconds(IMAGES)  # the graph of this shape is recorded
        for _ in range(2):
            world.calls.clear()
            assert loop.device_seconds(IMAGES) == pytest.approx(0.0025), "the double computes for 2.5 ms"
            assert world.names() == ["Event", "Event", "record", "cuGraphLaunch", "record", "synchronize"], (
                "no copy, one wait, no buffers"
            )


@pytest.mark.parametrize("refused", [True, False])
def test_without_a_graph_the_device_is_timed_call_by_call(world: Any, plan: Path, full: Path, refused: bool) -> None:
    """Where none can be recorded, and of TensorRT-RTX."""
    with TensorrtLoop(full if refused else plan) as loop:
        if refused:
            world.refuse.add("cuStreamEndCapture")
        loop.device_seconds(IMAGES)
        world.calls.clear()
        assert loop.device_seconds(IMAGES) == pytest.approx(0.0025)
        assert world.names() == ["Event", "Event", "record", "execute_async_v3", "record", "synchronize"]


def test_a_graph_is_of_one_shape_and_the_loop_beside_stays_call_by_call(world: Any, full: Path) -> None:
    with TensorrtLoop(full) as loop:
        for images in (IMAGES, IMAGES[:1], IMAGES):
            assert [loop.device_seconds(images) for _ in range(2)] == pytest.approx([0.0025] * 2)
            assert len(world.cuda.graphs) == 1
            world.calls.clear()
            loop.run(images)
            assert "execute_async_v3" in world.names() and "cuGraphLaunch" not in world.names()
    assert world.cuda.graphs == {}


def test_nothing_is_left_behind(world: Any, plan: Path) -> None:
    with TensorrtLoop(plan) as loop:
        loop.run(IMAGES)
    assert world.memory == {}
    assert world.names().count("free host") == world.names().count("pagelocked_empty")


def test_a_refused_launch_is_told(world: Any, plan: Path) -> None:
    with TensorrtLoop(plan) as loop:
        world.refuse.add("execute_async_v3")
        with pytest.raises(EngineError, match=r"tiny.plan without dlcv failed: execute_async_v3 was refused"):
            loop.run(IMAGES)


def test_events_on_a_stream_with_nothing_between(world: Any) -> None:
    with cuda.primary_context("measuring"):
        assert seconds_between_events(cuda.Stream(), lambda: None) == 0.0


def test_the_bare_baseline_of_a_plan_is_the_loop(world: Any, plan: Path) -> None:
    work = Work(plan, None, CARD, "tensorrt", "cuda", "card", "fp32")
    with ExitStack() as stack:
        opened = open_baselines(("bare", "onnxruntime"), work, stack)
        (bare,) = opened.baselines
        assert bare.name == "bare TensorRT" and bare.device_s is not None
        assert bare.device_s(IMAGES) == pytest.approx(0.0025)
        assert opened.missing == {"bare ONNX Runtime": "there is no tiny.onnx beside the plan"}


def test_without_cuda_events_the_bare_library_is_measured_all_the_same(
    tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here ONNX Runtime has no CUDA provider that starts; on a GPU pycuda may be missing."""
    import onnxruntime as ort

    from dlcv.benchmarks.bench import cuda_events
    from dlcv.runtime.errors import MissingPackageError

    def missing(*_: Any) -> Any:
        raise MissingPackageError("pycuda", "run a TensorRT plan", "pip install pycuda")

    monkeypatch.setattr(cuda_events, "OnnxOnDevice", missing)
    plain = ort.InferenceSession
    monkeypatch.setattr(
        ort,
        "InferenceSession",
        lambda source, options, providers: plain(source, options, providers=["CPUExecutionProvider"]),
    )
    work = Work(tiny_onnx, None, CARD, "onnxruntime", "cuda", "card", "fp32")
    with ExitStack() as stack:
        (bare,) = open_baselines(("bare",), work, stack).baselines
        assert bare.device_s is None and bare.no_device_s.endswith("install it with: pip install pycuda")
        assert bare.run(np.zeros((1, 64, 64, 3), np.uint8))
