"""CUDA graphs in the session of a plan, on the double of TensorRT, pycuda and the driver; the driver's names and types from `cuda.h`."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trt_double import images_of

from dlcv.runtime.errors import EngineError, OutOfMemory
from dlcv.runtime.sessions import cuda_graph
from dlcv.runtime.sessions.restarting import RestartingSession
from dlcv.runtime.sessions.trt import TrtSession, open_plan

HEADERS = [Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")), *sorted(Path("/usr/local").glob("cuda-1[2-9]*"))]
ADDRESSES, OUT = ["set_tensor_address"] * 3, ["memcpy_dtoh_async"] * 2


@pytest.fixture
def full(double: Any, world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plan of full TensorRT, which is there."""
    path: Path = double.write_full_plan(world, tmp_path, monkeypatch)
    return path


@pytest.fixture
def one_slot(full: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, whose sessions have one slot, so that each batch goes through it."""
    monkeypatch.setattr("dlcv.runtime.sessions.trt.SLOTS", 1)
    return full


def _right(session: TrtSession, count: int, seed: int) -> None:
    images = images_of(count, seed)
    outputs = session.run(images)
    np.testing.assert_array_equal(outputs["mask"], images[..., 0] % 3)
    np.testing.assert_array_equal(outputs["score"], images.mean((2, 3), dtype=np.float32))


def test_a_size_runs_once_call_by_call_and_is_then_launched_as_a_graph(world: Any, one_slot: Path) -> None:
    with open_plan(one_slot) as session:
        assert session.description == "TensorRT 10.9.0.34 on NVIDIA Double, in fp32, with CUDA graphs"
        world.calls.clear()
        _right(session, 3, seed=1)
        assert world.names() == [
            "memcpy_htod_async", "set_input_shape", *ADDRESSES, "execute_async_v3", *OUT, "synchronize",
            "cuStreamBeginCapture_v2", "execute_async_v3", "cuStreamEndCapture", "cuGraphInstantiateWithFlags", "cuGraphDestroy",
        ]  # fmt: skip
        for seed in (2, 3):
            world.calls.clear()
            _right(session, 3, seed)
            assert world.names() == ["memcpy_htod_async", "cuGraphLaunch", *OUT, "synchronize"]
        assert session.notices == []


def test_a_graph_is_thrown_away_when_its_context_is_given_another_shape(world: Any, one_slot: Path) -> None:
    with open_plan(one_slot) as session:
        world.calls.clear()
        for seed, count in enumerate((4, 4, 1, 4, 4, 4, 2, 2, 2, 4)):
            _right(session, count, seed)
        names = [name for name in world.names() if name.startswith(("set_input_shape", "cuGraph"))]
        plain, record = ["set_input_shape"], ["cuGraphInstantiateWithFlags", "cuGraphDestroy"]
        launch, forget = ["cuGraphLaunch"], ["cuGraphExecDestroy"]
        assert names == [
            *plain, *record, *launch,  # 4, 4
            *forget, *plain,  # 1: it may not come again
            *plain, *plain, *record, *launch,  # 4, 4, 4
            *forget, *plain, *plain, *record, *launch,  # 2, 2, 2
            *forget, *plain,  # 4
        ]  # fmt: skip
        assert world.cuda.graphs == {}


def test_sizes_may_alternate(world: Any, one_slot: Path) -> None:
    with open_plan(one_slot) as session:
        for seed, count in enumerate((4, 1, 2, 4, 1, 2, 2, 2, 1, 4, 4, 4)):
            _right(session, count, seed)
            assert len(world.cuda.graphs) <= 1, "what was recorded is destroyed once it can be launched"


def test_looking_at_the_layers_costs_the_graph(world: Any, one_slot: Path) -> None:
    """It gives the context a shape."""
    with open_plan(one_slot) as session:
        for seed in range(2):
            _right(session, 2, seed)
        assert world.names().count("cuGraphLaunch") == 1
        session.executed()
        for seed in range(3):
            _right(session, 2, seed)
        assert world.names().count("cuGraphLaunch") == 3


def test_each_slot_has_graphs_of_its_own(world: Any, full: Path) -> None:
    with open_plan(full) as session:
        for seed in range(6):  # the slots take turns
            _right(session, 4, seed)
        assert world.names().count("cuGraphInstantiateWithFlags") == 2
        launched = {call[1:] for call in world.calls if call[0] == "cuGraphLaunch"}
        assert len({graph for graph, _ in launched}) == len({stream for _, stream in launched}) == len(launched) == 2


def test_a_plan_of_a_fixed_batch_needs_one_graph(world: Any, one_slot: Path) -> None:
    world.profile = [(4, 4, 6, 3)] * 3
    with open_plan(one_slot) as session:
        for seed, count in enumerate((4, 3, 1)):
            _right(session, count, seed)
    assert world.names().count("cuGraphInstantiateWithFlags") == 1


def test_graphs_are_freed_before_the_contexts_they_run_in(world: Any, full: Path) -> None:
    session = open_plan(full)
    for seed in range(4):
        _right(session, 2, seed)
    world.calls.clear()
    session.close()
    freed = [name for name in world.names() if name.startswith(("cuGraph", "delete", "free"))]
    of_a_slot = ["cuGraphExecDestroy"] + ["delete context"] + ["free device"] * 3 + ["free host"] * 3
    assert freed == [*of_a_slot, *of_a_slot, "delete engine", "delete runtime"]
    assert world.cuda.graphs == {} and world.memory == {} and world.stack == []


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("cuStreamBeginCapture_v2", "cuStreamBeginCapture_v2: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"),
        ("execute_async_v3", "execute_async_v3"),
        ("synchronize", "cuStreamEndCapture: CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"),
        ("cuStreamEndCapture", "cuStreamEndCapture: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"),
        ("cuGraphInstantiateWithFlags", "cuGraphInstantiateWithFlags: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"),
    ],
)
def test_what_cannot_be_recorded_runs_call_by_call_with_a_notice(world: Any, full: Path, call: str, reason: str) -> None:  # fmt: skip
    if (
        call == "execute_async_v3"
    ):  # TensorRT refuses to be recorded, and CUDA's runtime keeps the error for one more call
        world.cuda.on_begin = lambda: world.refuse.add(call)
        left, plain = [2], world.note

        def note(name: str, *values: Any) -> bool:
            done = bool(plain(name, *values))
            left[0] -= name == call and not done
            if not left[0]:
                world.refuse.discard(call)
            return done

        world.note = note
    elif call == "synchronize":  # which a plan with a loop does inside
        world.cuda.on_begin = lambda: next(iter(world.streams.values())).synchronize()
    else:
        world.refuse = {call}
    with open_plan(full) as session:
        for seed, count in enumerate((4, 4, 2, 4, 4)):
            _right(session, count, seed)
        assert session.notices == [f"{full} runs without CUDA graphs: {reason}"]
        assert world.names().count("cuStreamBeginCapture_v2") == 1, "it is not tried again"
        assert "cuGraphLaunch" not in world.names()
        assert RestartingSession(session, lambda: session).notices == session.notices
    assert world.cuda.graphs == {} and world.memory == {}


def test_a_graph_that_is_refused_later_is_an_error_and_out_of_memory_says_so(world: Any, one_slot: Path) -> None:
    with open_plan(one_slot) as session:
        _right(session, 2, 0)
        world.refuse = {"cuGraphLaunch"}
        with pytest.raises(EngineError, match="a CUDA graph was refused: cuGraphLaunch: CUDA_ERROR_STREAM_CAPTURE_UN"):
            session.run(images_of(2))
        assert world.names()[-1] == "synchronize", "the copy in has ended before the buffer is used again"
        world.cuda.code = 2
        with pytest.raises(OutOfMemory, match=r"cuGraphLaunch: CUDA_ERROR_OUT_OF_MEMORY$"):
            session.run(images_of(2))
        world.refuse = set()
        _right(session, 2, 1)


def test_an_exception_while_recording_leaves_the_stream_as_it_was(world: Any) -> None:
    from dlcv.runtime.sessions import cuda

    driver = cuda_graph.GraphDriver(world.cuda)

    def interrupted() -> str:
        raise KeyboardInterrupt

    with cuda.primary_context("recording"):
        stream = cuda.Stream()
        with pytest.raises(KeyboardInterrupt):
            driver.record(stream, interrupted)
        assert world.names()[-2:] == ["cuStreamEndCapture", "cuGraphDestroy"]
        assert world.cuda.graphs == {}


@pytest.mark.parametrize("lacks", ["libcuda", "a function"])
def test_a_driver_without_graphs_is_told_in_the_description(world: Any, full: Path, monkeypatch: pytest.MonkeyPatch, lacks: str) -> None:  # fmt: skip
    def load() -> Any:
        if lacks == "libcuda":
            raise OSError("libcuda.so.1: cannot open shared object file")
        del world.cuda.cuGraphInstantiateWithFlags
        return world.cuda

    monkeypatch.setattr(cuda_graph, "load_driver", load)
    with open_plan(full) as session:
        for seed in range(3):
            _right(session, 2, seed)
        assert session.description.endswith(", in fp32, without CUDA graphs")
        (notice,) = session.notices
        assert notice.startswith(f"{full} runs without CUDA graphs: the driver has no graphs (")


def test_graphs_can_be_left_out(world: Any, full: Path) -> None:
    with open_plan(full, graphs=False) as session:
        _right(session, 2, 0)
        assert session.description.endswith("without CUDA graphs") and session.notices == []
    assert not [name for name in world.names() if name.startswith("cu")]


def test_streams_wait_for_no_other_one(world: Any, full: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a stream that waits for the default one records, torch's work on that one would fail."""
    flags: list[int] = []
    real = sys.modules["pycuda.driver"].Stream
    monkeypatch.setattr(sys.modules["pycuda.driver"], "Stream", lambda flag=0: flags.append(flag) or real(flag))
    open_plan(full).close()
    assert flags == [1, 1], "CU_STREAM_NON_BLOCKING"


@pytest.mark.parametrize("kept", [True, False])
def test_rtx_records_graphs_itself(world: Any, plan: Path, kept: bool) -> None:
    with open_plan(plan, None if kept else plan.read_bytes()) as session:
        _right(session, 2, 0)
        assert session.description == "TensorRT-RTX 1.7.1.116 on NVIDIA Double, in fp32, with CUDA graphs"
        assert ("cuda_graph_strategy", "WHOLE_GRAPH_CAPTURE") in world.calls
    assert not [name for name in world.names() if name.startswith("cuS")]
    assert plan.with_name("tiny.plan.rtxcache").exists() is kept
    world.calls.clear()
    with open_plan(plan, graphs=False) as session:
        assert session.description.endswith("without CUDA graphs")
    assert "cuda_graph_strategy" not in world.names()


@pytest.mark.parametrize(
    "message",
    [
        "[defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)",
        "IExecutionContext::enqueueV3: Error Code 2: OutOfMemory (Requested size was 123 bytes.)",
        "Error Code 2: Internal Error (Requested amount of GPU memory (123 bytes) could not be allocated.)",
        "[executionContext.cpp::x::1] Error Code 1: Cask (CUDNN_STATUS_ALLOC_FAILED)",
    ],
)
def test_tensorrt_out_of_memory_is_out_of_memory(world: Any, full: Path, message: str, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """So that the pipeline halves the batch."""
    with open_plan(full) as session:
        world.refuse = {"execute_async_v3"}
        with pytest.raises(EngineError) as caught:
            session.run(images_of(4))
        assert not isinstance(caught.value, OutOfMemory), "another reason is no reason to try less"
        monkeypatch.setattr(session._log, "last_error", lambda: message)
        with pytest.raises(OutOfMemory, match="execute_async_v3 was refused: "):
            session.run(images_of(4))
        world.refuse = set()
        _right(session, 2, 0)
    world.refuse = {"create_execution_context"}
    with pytest.raises(OutOfMemory, match=r"cannot be prepared to run: .*; free GPU memory"):
        open_plan(full)


def test_the_drivers_functions_are_those_of_cuda_h() -> None:
    """Names as the library exports them, and a C type for each argument."""
    header = next((path / "include" / "cuda.h" for path in HEADERS if (path / "include" / "cuda.h").exists()), None)
    if header is None:
        pytest.skip("no cuda.h on this machine: CUDA_HOME names a toolkit")
    text = header.read_text(errors="replace")
    kinds = {
        "CUstream": ctypes.c_void_p, "CUgraph": ctypes.c_void_p, "CUgraphExec": ctypes.c_void_p, "CUresult": ctypes.c_int,
        "CUstreamCaptureMode": ctypes.c_int, "unsigned long long": ctypes.c_ulonglong,
        "CUgraph *": ctypes.POINTER(ctypes.c_void_p), "CUgraphExec *": ctypes.POINTER(ctypes.c_void_p),
        "const char **": ctypes.POINTER(ctypes.c_char_p),
    }  # fmt: skip
    renamed = {"cuStreamBeginCapture_v2": "cuStreamBeginCapture", "cuGraphInstantiateWithFlags": "cuGraphInstantiate"}
    for name, types in cuda_graph.CALLS.items():
        plain = renamed.get(name, name)
        if plain != name:
            assert re.search(rf"#define {plain}\s+(?:__CUDA_API_PTSZ\()?{name}\b", text), name
        declared = re.search(rf"^CUresult CUDAAPI {plain}\(([^)]*)\);", text, re.MULTILINE)
        assert declared is not None, name
        arguments = [re.sub(r"\w+$", "", part.strip()).strip() for part in declared[1].split(",")]
        assert [kinds[argument] for argument in arguments] == list(types), name
    assert re.search(rf"CU_STREAM_CAPTURE_MODE_THREAD_LOCAL\s+= {cuda_graph._THREAD_LOCAL}\b", text)
    assert re.search(r"CU_STREAM_NON_BLOCKING\s+= 0x1\b", text)
