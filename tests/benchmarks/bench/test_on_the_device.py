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


def test_the_bare_loop_gives_what_our_session_gives(world: Any, plan: Path) -> None:
    with open_plan(plan) as session, TensorrtLoop(plan) as loop:
        for images in (IMAGES, IMAGES[:1], IMAGES):
            expected = session.run(images)
            found = loop.run(images)
            assert set(found) == set(expected)
            for name, values in expected.items():
                np.testing.assert_array_equal(found[name], values)


def test_device_time_is_what_lies_between_the_events(world: Any, plan: Path) -> None:
    with TensorrtLoop(plan) as loop:
        world.calls.clear()
        assert loop.device_seconds(IMAGES) == pytest.approx(0.0025), "the double computes for 2.5 ms"
        names = [
            name for name in world.names() if name in ("record", "execute_async_v3", "memcpy_htod_async", "synchronize")
        ]
        assert names == ["record", "execute_async_v3", "record", "synchronize"], "no copy in between, and one wait"
        world.calls.clear()
        loop.device_seconds(IMAGES)
        assert "mem_alloc" not in world.names(), "buffers are kept as long as the batch is the same"


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
