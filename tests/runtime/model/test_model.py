"""`with load("fcn8s.onnx") as model: masks = model(images)`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dlcv.runtime import load
from dlcv.runtime.errors import EngineError, TileError, UsageError
from dlcv.runtime.model.model import Model
from dlcv.runtime.pipeline.batching import MOST_IN_A_ROW

Image = NDArray[np.uint8]
SAME = 0.9999
"""Of pixels: float32 sums in another order (another batch) may decide ties otherwise."""


def _same(first: Image, second: Image) -> bool:
    return first.shape == second.shape and bool(np.mean(first == second) >= SAME)


def test_one_image(tiny_onnx: Path, tiny_scenes: list[Image], tiny_masks: list[Image]) -> None:
    with load(tiny_onnx) as model:
        mask = model(tiny_scenes[0])
        assert model.card.model == "fcn8s"
    assert (mask.dtype, mask.shape) == (np.uint8, (64, 64))
    assert _same(mask, tiny_masks[0])


def test_a_stack_gives_a_stack_and_a_list_a_list(
    tiny_onnx: Path, tiny_scenes: list[Image], tiny_masks: list[Image]
) -> None:
    with load(str(tiny_onnx), batch=4) as model:
        stack = model(np.stack(tiny_scenes))
        assert isinstance(stack, np.ndarray)
        assert _same(stack, np.stack(tiny_masks))
        masks = model([tiny_scenes[1], tiny_scenes[0][:40], tiny_scenes[2]])
        assert [mask.shape for mask in masks] == [(64, 64), (40, 64), (64, 64)]
        assert _same(masks[0], tiny_masks[1])
        assert _same(masks[2], tiny_masks[2])
        assert model([]) == []


@pytest.mark.parametrize("head", ["mask", "probs", "logits"])
def test_every_head_gives_masks(
    tiny_graph: Callable[[str], Path], head: str, tiny_scenes: list[Image], tiny_masks: list[Image]
) -> None:
    with load(tiny_graph(head)) as model:
        assert _same(np.stack(model(tiny_scenes)), np.stack(tiny_masks))


@pytest.mark.parametrize("size_hw", [(64, 150), (100, 64), (200, 130), (30, 90), (1, 1), (64, 64)])
def test_sizes_of_any_kind_come_back(tiny_onnx: Path, size_hw: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), np.uint8)
    with load(tiny_onnx) as model:
        assert model(image).shape == size_hw


def test_the_batch_does_not_change_masks(tiny_onnx: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    with load(tiny_onnx, batch=1) as one, load(tiny_onnx, batch=7) as seven:
        assert _same(one(image), seven(image))


def test_fit_is_the_cards_unless_asked_for(tiny_onnx: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    with (
        load(tiny_onnx, fit="pad") as model,
        pytest.raises(TileError, match="100 x 100, the engine takes 64 x 64; pass --fit windows"),
    ):
        model(image)
    with load(tiny_onnx, fit="resize") as resized, load(tiny_onnx) as windows:
        assert not _same(resized(image), windows(image))
    with pytest.raises(UsageError, match="unknown fit 'stretch' for segmentation; it is one of windows, pad"):
        load(tiny_onnx, fit="stretch")
    with pytest.raises(UsageError, match="batch is 0, expected at least 1"):
        load(tiny_onnx, batch=0)


@pytest.mark.parametrize(
    ("image", "got"),
    [
        (np.zeros((64, 64, 3), np.float32), r"float32 \(64, 64, 3\)"),
        (np.zeros((64, 64), np.uint8), r"uint8 \(64, 64\)"),
        (np.zeros((0, 64, 3), np.uint8), r"uint8 \(0, 64, 3\)"),
        (np.zeros((64, 64, 4), np.uint8), r"uint8 \(64, 64, 4\)"),
        ([np.zeros((3, 64, 64), np.uint8)], r"uint8 \(3, 64, 64\)"),
        (["a.jpg"], "str"),
    ],
)
def test_what_is_no_image_is_refused(tiny_onnx: Path, image: object, got: str) -> None:
    with (
        load(tiny_onnx) as model,
        pytest.raises(UsageError, match=rf"^expected images as uint8 \(H, W, 3\), RGB, got {got}$"),
    ):
        model(image)  # type: ignore[call-overload]


def test_a_closed_model_refuses(tiny_onnx: Path, tiny_scenes: list[Image]) -> None:
    with load(tiny_onnx) as model:
        pass
    with pytest.raises(EngineError, match="the session is closed; open it again"):
        model(tiny_scenes[0])


def test_what_cannot_be_loaded(tiny_onnx: Path, tiny_checkpoint: Path) -> None:
    with pytest.raises(EngineError, match="does not exist; make it with: dlcv-export"):
        load("nowhere.onnx")
    with pytest.raises(
        EngineError,
        match=r"best\.pt is a checkpoint, not an engine; expected an \.onnx or a \.plan made with: dlcv-export",
    ):
        load(tiny_checkpoint)
    with pytest.raises(EngineError, match="unknown device 'tpu'; known: auto, cpu, cuda"):
        load(tiny_onnx, device="tpu")


# classification


def test_probabilities_of_one_image_a_stack_and_a_list(colour_engine: Path, colours: Any) -> None:
    images = [colours.colour_tile(name, seed) for seed, name in enumerate(colours.CARD.classes)]
    expected = np.stack([colours.expected_probs(image) for image in images])
    close = {"rtol": 0, "atol": 1e-6}  # float32's rounding over a few additions
    with load(colour_engine, batch=3) as model:
        assert model.card.classes == colours.CARD.classes
        one = model(images[2])
        assert (one.dtype, one.shape) == (np.float32, (4,))
        np.testing.assert_allclose(one, expected[2], **close)
        for many in (model(np.stack(images)), model(images)):
            assert isinstance(many, np.ndarray)
            assert (many.dtype, many.shape) == (np.float32, (4, 4))
            np.testing.assert_allclose(many, expected, **close)
            assert many.argmax(1).tolist() == [0, 1, 2, 3]
        for none in (model([]), model(np.empty((0, 32, 32, 3), np.uint8))):
            assert isinstance(none, np.ndarray)
            assert (none.dtype, none.shape) == (np.float32, (0, 4))


def test_images_of_any_size_are_cropped_as_the_card_says(colour_engine: Path, colours: Any) -> None:
    image = np.concatenate([colours.colour_tile(name, 0, (64, 64)) for name in ("blue", "red", "blue")], axis=1)
    with load(colour_engine) as model:
        assert model(image).argmax() == 0, "the middle of a 64 x 192 image, all of its height"
        assert np.asarray(model([image, image[:, :70]])).argmax(1).tolist() == [0, 2]


def test_a_classifier_has_one_fit(colour_engine: Path) -> None:
    with pytest.raises(UsageError, match="unknown fit 'windows' for classification; it is one of centre-crop"):
        load(colour_engine, fit="windows")


def test_a_classifier_refuses_what_is_no_image(colour_engine: Path) -> None:
    with load(colour_engine) as model, pytest.raises(UsageError, match=r"^expected images as uint8 \(H, W, 3\)"):
        model([np.zeros((32, 32), np.uint8)])


def test_an_engine_that_fails_for_a_moment_is_no_end(stand_in: Any) -> None:
    failing = False

    def before(images: Image) -> None:
        if failing:
            raise EngineError("the device was busy")

    with Model(stand_in.StandIn(before=before)) as model:
        assert (model(stand_in.tile_image(1)) == 1).all()
        failing = True
        for _ in range(2):
            with pytest.raises(EngineError, match="the device was busy"):
                model(stand_in.tile_image(2))
        failing = False
        assert (model(stand_in.tile_image(3)) == 3).all()


def test_many_bad_images_in_a_row_are_no_end(stand_in: Any) -> None:
    with Model(stand_in.StandIn()) as model:
        for _ in range(2 * MOST_IN_A_ROW + 2):
            with pytest.raises((TileError, EngineError), match="an illegal memory access"):
                model(stand_in.tile_image(stand_in.BAD))
        assert (model(stand_in.tile_image(3)) == 3).all()
