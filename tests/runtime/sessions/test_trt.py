"""The TensorRT session's own logic on a double of TensorRT and pycuda; the double itself: test_trt_double.py."""

from __future__ import annotations

import gc
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlcv.runtime.card import ModelCard, SizeRange
from dlcv.runtime.errors import EngineError, MissingPackageError, PlanError, UsageError
from dlcv.runtime.sessions import cuda, open_session
from dlcv.runtime.sessions.trt import open_plan

CARD = ModelCard(
    model="tiny", task="segmentation", classes=("a", "b", "c"), palette=((0, 0, 0), (9, 9, 9), (99, 99, 99)),
    input_size_hw=(4, 6), mean_rgb=(0.0, 0.0, 0.0), std_rgb=(1.0, 1.0, 1.0), head="mask", max_batch=4,
)  # fmt: skip
CLASSIFIER = CARD.changed(task="classification", palette=(), head="probs", fit="centre-crop", short_side=6)


@pytest.fixture
def world(double: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    world = double.World()
    package, driver = double.make_pycuda(world)
    for name, module in {
        "pycuda": package,
        "pycuda.driver": driver,
        "tensorrt_rtx": double.make_tensorrt(world),
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("tensorrt", "tensorrt_lean"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(cuda, "driver_problem", lambda: "")
    monkeypatch.setattr(cuda, "gpu_name_and_capability", lambda index=0: ("NVIDIA Double", "8.6"))
    cuda._pycuda.cache_clear()
    cuda._retained.cache_clear()
    yield world
    cuda._pycuda.cache_clear()
    cuda._retained.cache_clear()


@pytest.fixture
def plan(double: Any, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.plan"
    path.write_bytes(double.plan_bytes(CARD.to_json()))
    return path


def _images(count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (count, 4, 6, 3), dtype=np.uint8)


def test_a_batch_comes_back_as_the_network_says(world: Any, plan: Path) -> None:
    images = _images(3)
    with open_plan(plan) as session:
        outputs = session.run(images)
        assert (session.max_batch, session.parallel) == (4, 2)
        assert session.description == "TensorRT-RTX 1.7.1.116 on NVIDIA Double, in fp32"
    assert list(outputs) == ["mask", "score"]
    assert outputs["mask"].dtype == np.uint8
    assert outputs["score"].dtype == np.float32
    np.testing.assert_array_equal(outputs["mask"], images[..., 0] % 3)
    np.testing.assert_array_equal(outputs["score"], images.mean((2, 3), dtype=np.float32))


def test_a_classifiers_plan(double: Any, world: Any, tmp_path: Path) -> None:
    path = tmp_path / "classifier.plan"
    path.write_bytes(double.plan_bytes(CLASSIFIER.to_json()))
    world.tensors = {"image": ("UINT8", (-1, 4, 6, 3)), "probs": ("FLOAT", (-1, 3))}
    images = np.maximum(_images(3), 1)
    with open_plan(path) as session:
        sizes = [call[1] for call in world.calls if call[0] == "mem_alloc"]
        assert sizes == [4 * 4 * 6 * 3, 4 * 3 * 4] * 2  # image, float32 probs, in two slots
        probs = session.run(images)["probs"]
        assert session.card.classes == ("a", "b", "c")
    assert (probs.dtype, probs.shape) == (np.float32, (3, 3))
    mean = images.mean((1, 2))
    np.testing.assert_allclose(probs, mean / mean.sum(1, keepdims=True), rtol=1e-6)  # float32's rounding


@pytest.mark.parametrize(
    ("card", "output", "shown"),
    [
        (
            CLASSIFIER,
            {"probs": ("FLOAT", (-1, 4))},
            r"probs float32 \(N, 3\) \(classification, 3 classes\).* float32 \(N, 4\)",
        ),
        (CLASSIFIER, {"probs": ("HALF", (-1, 3))}, r"probs float32 \(N, 3\) .* float16 \(N, 3\)"),
        (CLASSIFIER, {"probs": ("FLOAT", (-1, 3, 4, 6))}, r"probs float32 \(N, 3\) .* float32 \(N, 3, 4, 6\)"),
        (CLASSIFIER, {"mask": ("UINT8", (-1, 4, 6))}, "head probs, the graph returns mask"),
        (
            CARD,
            {"mask": ("UINT8", (-1, 4, 7))},
            r"mask uint8 \(N, 4, 6\) \(segmentation, 3 classes\).* uint8 \(N, 4, 7\)",
        ),
        (CARD, {"probs": ("FLOAT", (-1, 3))}, "head mask, the graph returns probs"),
    ],
)
def test_a_plan_whose_output_is_not_what_its_card_says_is_refused(
    double: Any, world: Any, tmp_path: Path, card: ModelCard, output: Any, shown: str
) -> None:
    path = tmp_path / "x.plan"
    path.write_bytes(double.plan_bytes(card.to_json()))
    world.tensors = {"image": ("UINT8", (-1, 4, 6, 3)), **output}
    with pytest.raises(EngineError, match=rf"x\.plan: the card says {shown}; export it again$"):
        open_plan(path)
    assert world.memory == {}


def test_work_is_queued_in_order_on_one_stream(world: Any, plan: Path) -> None:
    with open_plan(plan) as session:
        world.calls.clear()
        session.run(_images(4))
        names = world.names()
    addresses = ["set_tensor_address"] * 3
    copies_out = ["memcpy_dtoh_async"] * 2
    expected = ["memcpy_htod_async", "set_input_shape", *addresses, "execute_async_v3", *copies_out, "synchronize"]
    assert names[: len(expected)] == expected


def test_buffers_hold_the_largest_batch_and_copies_only_the_batch(world: Any, plan: Path) -> None:
    with open_plan(plan) as session:
        sizes = [call[1] for call in world.calls if call[0] == "mem_alloc"]
        assert sizes == [4 * 4 * 6 * 3, 4 * 4 * 6, 4 * 4 * 4] * 2  # image, mask, float32 score, in two slots
        assert ("pagelocked_empty", (4, 4, 6, 3), "uint8") in world.calls
        session.run(_images(4))
        world.calls.clear()
        short = session.run(_images(1, seed=5))
    assert ("set_input_shape", "image", (1, 4, 6, 3)) in world.calls
    assert [call[2] for call in world.calls if call[0].startswith("memcpy")] == [72, 24, 16]
    assert short["mask"].shape == (1, 4, 6)
    np.testing.assert_array_equal(short["mask"], _images(1, seed=5)[..., 0] % 3)


def test_results_are_the_callers_to_keep(world: Any, plan: Path) -> None:
    with open_plan(plan) as session:
        first = [session.run(_images(2, seed))["mask"] for seed in range(4)]  # twice around the two slots
    for seed, mask in enumerate(first):
        np.testing.assert_array_equal(mask, _images(2, seed)[..., 0] % 3)


def test_a_plan_of_a_fixed_batch_takes_a_short_one(world: Any, plan: Path) -> None:
    world.profile = [(4, 4, 6, 3)] * 3
    with open_plan(plan) as session:
        mask = session.run(_images(3))["mask"]
    assert ("set_input_shape", "image", (4, 4, 6, 3)) in world.calls
    np.testing.assert_array_equal(mask, _images(3)[..., 0] % 3)


def test_two_threads_are_in_flight_with_buffers_of_their_own(world: Any, plan: Path) -> None:
    barrier = threading.Barrier(2)
    world.on_synchronize = lambda: barrier.wait(10)  # returns only once two batches wait at the same time
    results: dict[int, Any] = {}
    stacks: list[int] = []

    def work(session: Any, seed: int) -> None:
        results[seed] = session.run(_images(4, seed))["mask"]
        stacks.append(len(world.stack))

    with open_plan(plan) as session:
        threads = [threading.Thread(target=work, args=(session, seed)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    for seed in range(4):
        np.testing.assert_array_equal(results[seed], _images(4, seed)[..., 0] % 3)
    runs = [call[1:] for call in world.calls if call[0] == "execute_async_v3"]
    assert len({context for context, _ in runs}) == 2
    assert len({stream for _, stream in runs}) == 2
    assert stacks == [0] * 4, "each call leaves its thread without the context"


@pytest.mark.parametrize("call", ["set_input_shape", "set_tensor_address", "execute_async_v3"])
def test_a_refused_call_is_told_with_tensorrts_reason_and_the_slot_lives_on(world: Any, plan: Path, call: str) -> None:
    with open_plan(plan) as session:
        for _ in range(3):  # more often than there are slots
            world.refuse = {call}
            with pytest.raises(
                EngineError, match=rf"failed to run: {call}.* was refused: {call}: Error Code 2: the double refuses$"
            ):
                session.run(_images(2))
        assert world.names()[-1] == "synchronize", "the copy in has ended before the buffer is used again"
        world.refuse = set()
        np.testing.assert_array_equal(session.run(_images(2))["mask"], _images(2)[..., 0] % 3)


def test_a_cuda_error_is_told_on_one_line(world: Any, plan: Path) -> None:
    with open_plan(plan) as session:
        world.refuse = {"memcpy_htod_async"}
        with pytest.raises(EngineError) as caught:
            session.run(_images(1))
        assert str(caught.value) == f"CUDA failed while running {plan}: memcpy_htod_async failed: unknown error"
        assert world.stack == []


def test_what_fails_while_opening_is_told_and_freed(world: Any, plan: Path) -> None:
    for call, sentence in {
        "deserialize_cuda_engine": "cannot be loaded: deserialize_cuda_engine: Error Code 2: the double refuses; "
        "export it again on this machine",
        "create_execution_context": "cannot be prepared to run: create_execution_context: Error Code 2: the double "
        "refuses; free GPU memory",
        "mem_alloc": "out of GPU memory while opening .*; close other programs on the GPU or build the plan with a "
        "smaller --max-batch",
    }.items():
        world.calls.clear()
        world.refuse = {call}
        with pytest.raises(EngineError, match=sentence):
            open_plan(plan)
        gc.collect()
        assert world.names()[-1] == "delete runtime"
        assert world.stack == []


def test_close_frees_contexts_then_engine_then_runtime_inside_the_cuda_context(world: Any, plan: Path) -> None:
    session = open_plan(plan)
    session.run(_images(1))
    world.calls.clear()
    session.close()
    session.close()
    deleted = [call for call in world.calls if call[0].startswith("delete")]
    assert deleted == [("delete context", True)] * 2 + [("delete engine", True), ("delete runtime", True)]
    assert world.names().count("free device") == 6
    assert world.names().count("free host") == 6
    assert world.memory == {}
    assert world.stack == []
    for _ in range(2):
        with pytest.raises(EngineError, match="is closed; open it again"):
            session.run(_images(1))


def test_close_waits_for_a_batch_in_flight(world: Any, plan: Path) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        reached.set()
        go_on.wait(10)

    world.on_synchronize = hold
    session, results = open_plan(plan), []
    runner = threading.Thread(target=lambda: results.append(session.run(_images(2))["mask"]))
    runner.start()
    assert reached.wait(10)
    closer = threading.Thread(target=session.close)
    closer.start()
    assert "free device" not in world.names()
    go_on.set()
    runner.join(10)
    closer.join(10)
    np.testing.assert_array_equal(results[0], _images(2)[..., 0] % 3)
    assert world.memory == {}


def test_a_batch_that_does_not_fit_is_refused_before_any_call(world: Any, plan: Path) -> None:
    with open_plan(plan) as session:
        world.calls.clear()
        with pytest.raises(EngineError, match="expected a batch of 1 to 4 images, got 5"):
            session.run(_images(5))
        assert world.calls == []


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        (
            {"image": ("FLOAT", (-1, 4, 6, 3))},
            r"takes images as float32 \(4, 6, 3\), and its card says uint8 \(4, 6, 3\)",
        ),
        (
            {"image": ("UINT8", (-1, 4, 6, 3)), "image2": ("UINT8", (-1,))},
            "takes image, image2, expected one input named 'image'",
        ),
        ({"image": ("UINT8", (-1, 4, 6, 3)), "mask": ("UINT8", (-1, -1, 6))}, "only the batch may vary"),
        ({"image": ("UINT8", (-1, 4, 6, 3)), "mask": ("BF16", (-1, 4, 6))}, "its tensor mask has the type .*BF16"),
    ],
)
def test_a_plan_that_is_not_a_graph_of_this_project_is_told(
    world: Any, plan: Path, tensors: Any, sentence: str
) -> None:
    world.tensors = tensors
    with pytest.raises(EngineError, match=sentence):
        open_plan(plan)


def test_rtx_keeps_what_it_compiled_beside_the_plan(world: Any, plan: Path) -> None:
    cache = plan.with_name("tiny.plan.rtxcache")
    open_plan(plan).close()
    assert cache.read_bytes() == b"compiled"
    assert world.names().count("deserialize") == 0
    assert ("create_execution_context", True) in world.calls
    world.cache_blob = b"compiled and more"
    open_plan(plan).close()
    assert ("deserialize", b"compiled") in world.calls
    assert cache.read_bytes() == b"compiled and more"


def test_a_cache_that_cannot_be_written_is_no_error(world: Any, plan: Path) -> None:
    plan.with_name("tiny.plan.rtxcache").mkdir()
    with open_plan(plan) as session:
        session.run(_images(1))


@pytest.mark.parametrize("names", [("tensorrt", "tensorrt_lean"), ("tensorrt_lean",)])
def test_a_plan_of_full_tensorrt_takes_tensorrt_then_the_lean_runtime(
    double: Any, world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    path = tmp_path / "full.plan"
    path.write_bytes(double.plan_bytes(CARD.to_json(), magic=b"ftrt", version="10.9.0.34"))
    for name in names:
        monkeypatch.setitem(sys.modules, name, double.make_tensorrt(world, name, "10.9.0.34"))
    with open_plan(path) as session:
        session.run(_images(1))
    assert ("Runtime", names[0]) in world.calls
    assert ("create_execution_context", False) in world.calls
    assert not path.with_name("full.plan.rtxcache").exists()


def test_preflight_speaks_before_any_library_is_asked(
    double: Any, world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "other.plan"
    path.write_bytes(double.plan_bytes(CARD.to_json(), version="1.6.0.10"))
    with pytest.raises(
        PlanError, match=r"built by TensorRT-RTX 1\.6\.0\.10, and this machine has TensorRT-RTX 1\.7\.1\.116"
    ):
        open_plan(path)
    path.write_bytes(double.plan_bytes(CARD.to_json(), mask=1 << 4))
    with pytest.raises(PlanError, match=r"of compute capability 12\.0, and this machine's NVIDIA Double has 8\.6"):
        open_plan(path)
    monkeypatch.setitem(sys.modules, "tensorrt", double.make_tensorrt(world, "tensorrt", "10.9.0.34"))
    built_elsewhere = CARD.changed(
        versions={"compute_capability": "9.0"}
    )  # full TensorRT's header does not say; the card does
    path.write_bytes(double.plan_bytes(built_elsewhere.to_json(), magic=b"ftrt", version="10.9.0.34"))
    with pytest.raises(PlanError, match=r"of compute capability 9\.0, and this machine's NVIDIA Double has 8\.6"):
        open_plan(path)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'dlcv-edge\[tensorrt\]'"):
        open_plan(path)
    assert world.calls == []


def test_without_pycuda_the_pip_command_is_told(world: Any, plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    with pytest.raises(
        MissingPackageError, match="pycuda is needed to run a TensorRT plan; install it with: pip install pycuda"
    ):
        open_plan(plan)


def test_without_a_driver_no_library_is_loaded_and_the_graph_is_named(
    double: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "driver_problem", lambda: "no NVIDIA driver (libcuda.so.1)")
    for name in ("tensorrt", "tensorrt_lean", "tensorrt_rtx", "pycuda"):
        monkeypatch.setitem(sys.modules, name, None)
    path = tmp_path / "fcn8s.plan"
    path.write_bytes(double.plan_bytes(CARD.to_json()))
    path.with_suffix(".onnx").touch()
    with pytest.raises(
        PlanError,
        match=r"^this machine has no NVIDIA driver \(libcuda\.so\.1\), and .* instead: --engine .*fcn8s\.onnx$",
    ):
        open_session(path)


def test_a_plan_says_what_it_computes_and_what_its_layers_ran_in(world: Any, plan: Path) -> None:
    with open_plan(plan) as session:
        assert session.computes == "fp32" and session.description.endswith(" on NVIDIA Double, in fp32")
        assert session.executed() is None, "a plan without its layers' details"
        side = {"Dimensions": [4, 3, 4, 6], "Format/Datatype": "Half"}
        layer = {"Name": "conv", "LayerType": "Conv", "Inputs": [side], "Outputs": [side], "Weights": {"Count": 10}}
        world.layers = json.dumps({"Layers": [layer]})
        ran = session.executed()
        assert ran is not None and ran.multiply_adds == {"fp16": 240}
        assert ran.problems("fp32") == [f"{ran.by} runs 100.0% of the multiply-adds in less than fp32: conv in fp16"]
        assert ("get_engine_information", "JSON", True) in world.calls
    assert session.executed() is None


def test_full_tensorrt_tells_types_for_a_context_that_knows_its_shapes(
    world: Any, double: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a batch varies, as it does in every plan of ours; the context is none that a batch is in."""
    monkeypatch.setitem(sys.modules, "tensorrt", double.make_tensorrt(world, "tensorrt", "8.6.2.3"))
    path = tmp_path / "tiny.plan"
    path.write_bytes(double.plan_bytes(CARD.to_json(), magic=b"ftrt", version="8.6.2.3"))
    side = {"Dimensions": [4, 3, 4, 6], "Format/Datatype": "Row major linear FP32"}
    layer = {"Name": "conv", "LayerType": "CaskConvolution", "Inputs": [side], "Outputs": [side], "Weights": {"Count": 10}}  # fmt: skip
    world.layers = json.dumps({"Layers": [layer]})
    with open_plan(path) as session:
        ran = session.executed()
        assert ran is not None and ran.multiply_adds == {"fp32": 240}
        assert ran.by == "TensorRT 8.6.2.3 on NVIDIA Double"
        images = np.zeros((2, *CARD.input_size_hw, 3), np.uint8)
        assert len(session.run(images)[CARD.head]) == 2, "and the context runs again at its own batch"
    assert session.executed() is None, "closed"


def test_what_a_plan_computes_in_was_decided_when_it_was_built(world: Any, plan: Path) -> None:
    with pytest.raises(EngineError, match=r"^--compute tf32 is for a graph: what .*tiny\.plan computes in was decided"):
        open_session(plan, compute="tf32")
    with pytest.raises(
        EngineError, match=r"^it runs \.onnx files, and .*tiny\.plan is a \.plan; run the \.onnx beside it$"
    ):
        open_session(plan, session="openvino")
    with open_session(plan, session="tensorrt", device="cuda") as session:
        assert "TensorRT" in session.description


def test_a_plan_of_varying_size_runs_at_the_window_that_is_asked_for(world: Any, double: Any, tmp_path: Path) -> None:
    card = CARD.changed(size_range=SizeRange((2, 2), (8, 12), 2))
    path = tmp_path / "tiny.plan"
    path.write_bytes(double.plan_bytes(card.to_json()))
    world.profile = [(1, 2, 2, 3), (2, 4, 6, 3), (4, 8, 12, 3)]
    world.tensors = {"image": ("UINT8", (-1, -1, -1, 3)), "mask": ("UINT8", (-1, -1, -1))}
    for window, size_hw in ((None, (4, 6)), ((8, 10), (8, 10))):
        images = np.random.default_rng(0).integers(0, 256, (3, *size_hw, 3), dtype=np.uint8)
        world.calls.clear()
        with open_session(path, window_hw=window) as session:
            assert session.card.input_size_hw == size_hw
            assert np.array_equal(session.run(images)["mask"], images[..., 0] % 3)
        assert ("set_input_shape", "image", (3, *size_hw, 3)) in world.calls
        assert ("pagelocked_empty", (4, *size_hw, 3), "uint8") in world.calls, "buffers are as large as the window"
    with pytest.raises(UsageError, match="takes 2 x 2 to 8 x 12 in multiples of 2; choose a size among them"):
        open_session(path, window_hw=(10, 12))


def test_a_plan_whose_profile_does_not_reach_its_card_is_told(world: Any, double: Any, tmp_path: Path) -> None:
    card = CARD.changed(size_range=SizeRange((2, 2), (8, 12), 2))
    path = tmp_path / "tiny.plan"
    path.write_bytes(double.plan_bytes(card.to_json()))
    world.tensors = {"image": ("UINT8", (-1, -1, -1, 3)), "mask": ("UINT8", (-1, -1, -1))}
    world.profile = [(1, 2, 2, 3), (2, 4, 4, 3), (4, 4, 4, 3)]
    with pytest.raises(EngineError, match=r"takes images as uint8 \(4, 4, 3\), and its card says uint8 \(4, 6, 3\)"):
        open_session(path)
