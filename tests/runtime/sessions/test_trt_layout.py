"""What a plan takes and returns, against its card, on the double of TensorRT: refused, and at sizes that vary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trt_double import CARD, images_of

from dlcv.runtime.card.card import ModelCard, SizeRange
from dlcv.runtime.errors import EngineError, UsageError
from dlcv.runtime.sessions import open_session
from dlcv.runtime.sessions.trt import open_plan

CLASSIFIER = CARD.changed(task="classification", palette=(), head="probs", fit="centre-crop", short_side=6)


def test_a_classifiers_plan(double: Any, world: Any, tmp_path: Path) -> None:
    path = tmp_path / "classifier.plan"
    path.write_bytes(double.plan_bytes(CLASSIFIER.to_json()))
    world.tensors = {"image": ("UINT8", (-1, 4, 6, 3)), "probs": ("FLOAT", (-1, 3))}
    images = np.maximum(images_of(3), 1)
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
