"""The tiny graph of these tests, by hand, and its card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from dlcv.runtime.card import ModelCard
from dlcv.runtime.card_reader import ONNX_KEY

CARD = ModelCard(
    model="tiny", task="segmentation", classes=("land", "water", "road"), head="mask", input_size_hw=(16, 24),
    palette=((0, 0, 0), (0, 0, 255), (99, 99, 99)), mean_rgb=(123.675, 116.28, 103.53), std_rgb=(58.395, 57.12, 57.375),
    versions={"onnx": onnx.__version__},
)  # fmt: skip


def write_graph(
    path: Path, changed: dict[int, Any] | None = None, *, card: ModelCard | None = None, opset: int = 17,
    sides: tuple[int | str, int | str] = (16, 24),
) -> Path:  # fmt: skip
    """The contract of an exported graph at 16 x 24 pixels and 3 classes.

    Args:
        path: of the graph.
        changed: replaces nodes by position.
        card: embedded where there is one.
        opset: that the graph claims.
        sides: height and width; a name for one that varies.
    """
    h, types = onnx.helper, onnx.TensorProto
    rng = np.random.default_rng(0)
    weights = {"kernel": rng.standard_normal((4, 3, 3, 3)) / 500, "upsampling": rng.standard_normal((4, 3, 2, 2))}
    nodes = [
        h.make_node("Cast", ["image"], ["floats"], to=types.FLOAT, name="to_float"),
        h.make_node("Transpose", ["floats"], ["nchw"], perm=[0, 3, 1, 2], name="to_nchw"),
        h.make_node(
            "Conv", ["nchw", "kernel"], ["features"], kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2], name="conv"
        ),
        h.make_node(
            "ConvTranspose", ["features", "upsampling"], ["logits"], kernel_shape=[2, 2], strides=[2, 2], name="up"
        ),
        h.make_node("ArgMax", ["logits"], ["classes"], axis=1, keepdims=0, name="argmax"),
        h.make_node("Cast", ["classes"], ["classes_float"], to=types.FLOAT, name="tail_float"),
        h.make_node("Cast", ["classes_float"], ["mask"], to=types.UINT8, name="tail_uint8"),
    ]
    for index, node in (changed or {}).items():
        nodes[index] = node
    image = h.make_tensor_value_info("image", types.UINT8, ["n", *sides, 3])
    mask = h.make_tensor_value_info("mask", types.UINT8, ["n", *sides])
    initializers = [onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    model = h.make_model(
        h.make_graph(nodes, "tiny", [image], [mask], initializers),
        opset_imports=[h.make_opsetid("", opset)],
        ir_version=8,
    )
    if card is not None:
        h.set_model_props(model, {ONNX_KEY: card.to_json()})
    onnx.save(model, path)
    return path
