"""Untrained networks: their cards, images for them and a graph. Their arithmetic costs what a trained one's does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dlcv.runtime.card.card import ModelCard

CLASSES = 7


def untrained_card(model: str, task: str, side: int, **values: Any) -> ModelCard:
    """A card for a network with fresh weights.

    Args:
        model: its name.
        task: `segmentation` or `classification`.
        side: of its input, in pixels.
        values: fields of the card that are to be others: seven classes, ImageNet's mean and deviation and logits stand otherwise.
    """
    from dlcv.runtime.card.card import ModelCard
    from dlcv.train.models.imagenet import IMAGENET_MEAN_RGB, IMAGENET_STD_RGB

    segments = task == "segmentation"
    given: dict[str, Any] = {
        "model": model, "task": task, "classes": tuple(f"class {index}" for index in range(CLASSES)),
        "palette": tuple((index * 36,) * 3 for index in range(CLASSES)) if segments else (),
        "input_size_hw": (side, side), "mean_rgb": IMAGENET_MEAN_RGB, "std_rgb": IMAGENET_STD_RGB,
        "fit": "windows" if segments else "centre-crop", "short_side": 0 if segments else side, "head": "logits",
    }  # fmt: skip
    return ModelCard(**(given | values))


def scene_images(count: int, side: int) -> NDArray[np.uint8]:
    """uint8 (count, side, side, 3): generated scenes."""
    import numpy as np

    from dlcv.train.data.scenes import make_scene

    return np.stack([make_scene(0, index, side)[0] for index in range(count)])


def largest_channel(path: Path, side: int) -> Path:
    """A graph of four operators: which of red, green and blue is the largest. An engine that costs next to nothing."""
    from onnx import TensorProto, helper

    from dlcv.export.onnx_from_checkpoint import OPSET, with_card

    card = untrained_card("fcn8s", "segmentation", side, head="mask")
    nodes = [
        helper.make_node("Cast", ["image"], ["rgb"], to=TensorProto.FLOAT),
        helper.make_node("ArgMax", ["rgb"], ["index"], axis=3, keepdims=0),
        helper.make_node("Cast", ["index"], ["class"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["class"], ["mask"], to=TensorProto.UINT8),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", side, side, 3])
    mask = helper.make_tensor_value_info("mask", TensorProto.UINT8, ["N", side, side])
    graph = helper.make_graph(nodes, "largest_channel", [image], [mask])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    path.write_bytes(with_card(model, card).SerializeToString())
    return path


def untrained(path: Path, width: float, size: int, *, int8: bool = False) -> Path:
    """A narrow fcn8s with fresh weights: its arithmetic costs what a trained one's does."""
    import torch

    from dlcv.export.onnx_from_checkpoint import onnx_from_model
    from dlcv.runtime.datasets.masks.description import load_description
    from dlcv.train.models import create_model

    torch.manual_seed(0)
    description = load_description("deepglobe")
    card = untrained_card(
        "fcn8s", "segmentation", size, width=width, head="mask",
        classes=description.classes, palette=description.palette, uncounted=description.uncounted,
    )  # fmt: skip
    model = create_model("fcn8s", classes=len(description.classes), width=width).eval()
    proto = onnx_from_model(model, card)
    if int8:
        from dlcv.export.onnx_from_checkpoint import with_card
        from dlcv.export.precision.calibration import int8_from_onnx
        from dlcv.train.data.scenes import make_scene

        scenes = (make_scene(0, index, size, split="train")[0] for index in range(8))
        proto = with_card(int8_from_onnx(proto, scenes), card.changed(precision="int8"))
    path.write_bytes(proto.SerializeToString())
    return path
