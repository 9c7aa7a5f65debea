"""The TensorRT session's own logic on a double of TensorRT and pycuda; the double itself: test_trt_double.py."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trt_double import images_of

from dlcv.runtime.errors import EngineError
from dlcv.runtime.sessions.trt import open_plan


def test_a_batch_comes_back_as_the_network_says(world: Any, plan: Path) -> None:
    images = images_of(3)
    with open_plan(plan) as session:
        outputs = session.run(images)
        assert (session.max_batch, session.parallel) == (4, 2)
        assert session.description == "TensorRT-RTX 1.7.1.116 on NVIDIA Double, in fp32, with CUDA graphs"
    assert list(outputs) == ["mask", "score"]
    assert outputs["mask"].dtype == np.uint8
    assert outputs["score"].dtype == np.float32
    np.testing.assert_array_equal(outputs["mask"], images[..., 0] % 3)
    np.testing.assert_array_equal(outputs["score"], images.mean((2, 3), dtype=np.float32))


def test_work_is_queued_in_order_on_one_stream(world: Any, plan: Path) -> None:
    with open_plan(plan) as session:
        world.calls.clear()
        session.run(images_of(4))
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
        session.run(images_of(4))
        world.calls.clear()
        short = session.run(images_of(1, seed=5))
    assert ("set_input_shape", "image", (1, 4, 6, 3)) in world.calls
    assert [call[2] for call in world.calls if call[0].startswith("memcpy")] == [72, 24, 16]
    assert short["mask"].shape == (1, 4, 6)
    np.testing.assert_array_equal(short["mask"], images_of(1, seed=5)[..., 0] % 3)


def test_results_are_the_callers_to_keep(world: Any, plan: Path) -> None:
    with open_plan(plan) as session:
        first = [session.run(images_of(2, seed))["mask"] for seed in range(4)]  # twice around the two slots
    for seed, mask in enumerate(first):
        np.testing.assert_array_equal(mask, images_of(2, seed)[..., 0] % 3)


def test_a_plan_of_a_fixed_batch_takes_a_short_one(world: Any, plan: Path) -> None:
    world.profile = [(4, 4, 6, 3)] * 3
    with open_plan(plan) as session:
        mask = session.run(images_of(3))["mask"]
    assert ("set_input_shape", "image", (4, 4, 6, 3)) in world.calls
    np.testing.assert_array_equal(mask, images_of(3)[..., 0] % 3)


def test_two_threads_are_in_flight_with_buffers_of_their_own(world: Any, plan: Path) -> None:
    barrier = threading.Barrier(2)
    world.on_synchronize = lambda: barrier.wait(10)  # returns only once two batches wait at the same time
    results: dict[int, Any] = {}
    stacks: list[int] = []

    def work(session: Any, seed: int) -> None:
        results[seed] = session.run(images_of(4, seed))["mask"]
        stacks.append(len(world.stack))

    with open_plan(plan) as session:
        threads = [threading.Thread(target=work, args=(session, seed)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    for seed in range(4):
        np.testing.assert_array_equal(results[seed], images_of(4, seed)[..., 0] % 3)
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
                session.run(images_of(2))
        assert world.names()[-1] == "synchronize", "the copy in has ended before the buffer is used again"
        world.refuse = set()
        np.testing.assert_array_equal(session.run(images_of(2))["mask"], images_of(2)[..., 0] % 3)


def test_a_cuda_error_is_told_on_one_line(world: Any, plan: Path) -> None:
    with open_plan(plan) as session:
        world.refuse = {"memcpy_htod_async"}
        with pytest.raises(EngineError) as caught:
            session.run(images_of(1))
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
    session.run(images_of(1))
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
            session.run(images_of(1))


def test_close_waits_for_a_batch_in_flight(world: Any, plan: Path) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        reached.set()
        go_on.wait(10)

    world.on_synchronize = hold
    session, results = open_plan(plan), []
    runner = threading.Thread(target=lambda: results.append(session.run(images_of(2))["mask"]))
    runner.start()
    assert reached.wait(10)
    closer = threading.Thread(target=session.close)
    closer.start()
    assert "free device" not in world.names()
    go_on.set()
    runner.join(10)
    closer.join(10)
    np.testing.assert_array_equal(results[0], images_of(2)[..., 0] % 3)
    assert world.memory == {}


def test_a_batch_that_does_not_fit_is_refused_before_any_call(world: Any, plan: Path) -> None:
    with open_plan(plan) as session:
        world.calls.clear()
        with pytest.raises(EngineError, match="expected a batch of 1 to 4 images, got 5"):
            session.run(images_of(5))
        assert world.calls == []
