"""The contract of a session, held by every one: ONNX Runtime, OpenVINO, TensorRT, and torch as the reference; in float32.

A new session joins with one line in `OPENERS` (`tests/helpers/session_openers.py`). The other precisions: test_session_precisions.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from session_openers import OPENERS, WORLDS, Images, World, open_torch

from dlcv.runtime.errors import EngineError
from dlcv.runtime.scoring.comparison import MIN_AGREEMENT
from dlcv.runtime.sessions import Session

LOGIT_TOLERANCE = 1e-3
"""Logits here are of deviation 1; float32 sums of some hundred products in another order differ by about 1e-5."""

HEADS = {"segmentation": ("mask", "probs", "logits"), "classification": ("probs", "logits")}
CASES = [
    pytest.param(
        task, name, head, id=f"{task}-{name}-{head}", marks=[pytest.mark.gpu] if name in ("onnx-cuda", "plan") else []
    )
    for task in WORLDS
    for name in OPENERS
    for head in HEADS[task]
    if name != "torch" or head == "logits"  # torch gives logits and mask or probabilities at once
]


@pytest.fixture(scope="module")
def worlds(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], World]:
    made: dict[str, World] = {}

    def world(task: str) -> World:
        if task not in made:
            made[task] = WORLDS[task](request, tmp_path_factory.mktemp(task))
        return made[task]

    return world


@pytest.fixture
def world(worlds: Callable[[str], World], task: str) -> World:
    return worlds(task)


@pytest.fixture
def images(world: World) -> Images:
    return np.stack(world.scenes[:3])


@pytest.fixture
def torch_logits(world: World, images: Images) -> NDArray[np.float32]:
    logits: NDArray[np.float32] = open_torch(world, "logits").run(images)["logits"]
    return logits


@pytest.fixture
def session(world: World, name: str, head: str) -> Iterator[Session]:
    with OPENERS[name](world, head) as session:
        yield session


every_session = pytest.mark.parametrize(("task", "name", "head"), CASES)


def _equal(first: NDArray[Any], second: NDArray[Any]) -> bool:
    """Equal up to the order of float32 additions, which a library may choose by the batch."""
    if first.dtype == np.uint8:
        return bool(np.mean(first == second) >= MIN_AGREEMENT["segmentation"]["fp32"])
    return bool(np.allclose(first, second, rtol=0, atol=LOGIT_TOLERANCE))


@every_session
def test_outputs_have_the_promised_shapes_and_types(session: Session, head: str, images: Images) -> None:
    sides = session.card.input_size_hw if session.card.task == "segmentation" else ()
    classes = len(session.card.classes)
    outputs = session.run(images)
    expected = {
        "mask": (np.uint8, (3, *sides)),
        "probs": (np.float32, (3, classes, *sides)),
        "logits": (np.float32, (3, classes, *sides)),
    }
    assert head in outputs
    for name, array in outputs.items():
        assert (array.dtype, array.shape) == expected[name]
    if "probs" in outputs:
        np.testing.assert_allclose(outputs["probs"].sum(1), 1, atol=1e-5)  # float32's rounding over a few terms


@every_session
def test_agrees_with_torch_at_the_bound_of_fp32(
    session: Session, head: str, images: Images, torch_logits: NDArray[np.float32]
) -> None:
    outputs = session.run(images)
    expected = torch_logits.argmax(1)
    assert len(np.unique(expected)) >= 3, "a model that says one class everywhere would agree with anything"
    got = outputs["mask"] if head == "mask" else outputs[head].argmax(1)
    assert np.mean(got == expected) >= MIN_AGREEMENT["segmentation"]["fp32"]
    if head == "logits":
        np.testing.assert_allclose(outputs["logits"], torch_logits, rtol=0, atol=LOGIT_TOLERANCE)


@every_session
def test_a_batch_gives_what_single_images_give_in_their_order(session: Session, head: str, images: Images) -> None:
    together = session.run(images)[head]
    assert not _equal(together[0], together[1]), "the images must differ for this test to mean anything"
    for index in range(3):
        assert _equal(together[index : index + 1], session.run(images[index : index + 1])[head])
    turned = session.run(np.ascontiguousarray(images[::-1]))[head]
    assert _equal(turned[::-1], together)


@every_session
def test_results_belong_to_the_caller(session: Session, head: str, images: Images) -> None:
    first = session.run(images)[head]
    kept = first.copy()
    session.run(255 - images)
    np.testing.assert_array_equal(first, kept)
    first[:] = 0  # writing into it harms no later result
    np.testing.assert_array_equal(session.run(images)[head], kept)


@every_session
def test_the_images_are_left_as_they_were(session: Session, images: Images) -> None:
    given = images.copy()
    session.run(given)
    np.testing.assert_array_equal(given, images)


@every_session
def test_images_that_are_not_contiguous_give_the_same(session: Session, head: str, images: Images) -> None:
    strided = np.repeat(images, 2, axis=2)[:, :, ::2]
    assert not strided.flags.c_contiguous
    assert _equal(session.run(strided)[head], session.run(images)[head])


@every_session
def test_a_wrong_batch_is_refused_in_a_sentence(session: Session, images: Images) -> None:
    side = session.card.input_size_hw[0]
    for wrong in (images[0], images[:, :-1], images[..., :1], images.astype(np.float32), images.transpose(0, 3, 1, 2)):
        with pytest.raises(EngineError, match=rf"^expected images as uint8 \(n, {side}, {side}, 3\), got \w+ \("):
            session.run(wrong)
    with pytest.raises(EngineError, match=r"^expected a batch of 1 .*, got 0; pass another --batch$"):
        session.run(images[:0])
    if session.max_batch is not None:
        with pytest.raises(EngineError, match=f"^expected a batch of 1 to {session.max_batch} images, got "):
            session.run(np.repeat(images[:1], session.max_batch + 1, axis=0))


@every_session
def test_a_closed_session_refuses_and_closes_twice(world: World, name: str, head: str, images: Images) -> None:
    session = OPENERS[name](world, head)
    with session as entered:
        assert entered is session
        session.run(images[:1])
    with pytest.raises(EngineError, match=r"closed; open it again$"):
        session.run(images[:1])
    session.close()


@every_session
def test_threads_get_what_a_serial_caller_gets(session: Session, head: str, world: World) -> None:
    batches = [np.stack(world.scenes[k : k + 2]) for k in range(len(world.scenes) - 1)] * 3
    serial = [session.run(batch)[head] for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(lambda batch: session.run(batch)[head], batches))
    for one, other in zip(serial, threaded, strict=True):
        assert _equal(one, other)


@every_session
def test_says_what_it_is(session: Session, name: str, world: World) -> None:
    assert session.device == ("cpu" if name in ("torch", "onnx-cpu", "openvino") else "cuda")
    assert session.card.classes == world.card.classes
    assert {"torch": "torch", "openvino": "OpenVINO", "plan": "TensorRT"}.get(
        name, "ONNX Runtime"
    ) in session.description
    assert session.parallel >= 1
    assert session.computes == "fp32" and (name == "torch" or session.description.endswith(", in fp32"))
    ran = session.executed()
    assert ran is None or ran.problems("fp32") == []
    assert (ran is not None) == (name in ("openvino", "onnx-cpu", "plan"))
