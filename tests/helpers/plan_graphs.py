"""The tiny graph of these tests, by hand, and its card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.card.reader import ONNX_KEY

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
        *mask_tail(),
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


def mask_tail() -> list[Any]:
    """From `logits` to `mask`, as every graph of that head ends."""
    h, types = onnx.helper, onnx.TensorProto
    return [
        h.make_node("ArgMax", ["logits"], ["classes"], axis=1, keepdims=0, name="argmax"),
        h.make_node("Cast", ["classes"], ["classes_float"], to=types.FLOAT, name="tail_float"),
        h.make_node("Cast", ["classes_float"], ["mask"], to=types.UINT8, name="tail_uint8"),
    ]


def write_half_graph(path: Path) -> Path:
    """The same contract in float16, as `dlcv.export.precision.cast` arranges it, with what may go wrong in it.

    An average over the image in float32 amid float16, a shape that is computed, an Identity, and a comparison.
    """
    h, types = onnx.helper, onnx.TensorProto
    rng = np.random.default_rng(0)
    nodes = [
        h.make_node("Cast", ["image"], ["floats"], to=types.FLOAT, name="to_float"),
        h.make_node("Transpose", ["floats"], ["nchw"], perm=[0, 3, 1, 2], name="to_nchw"),
        h.make_node("Div", ["nchw", "std"], ["normal"], name="normalise"),
        h.make_node("Cast", ["normal"], ["low"], to=types.FLOAT16, name="to_half"),
        h.make_node("Conv", ["low", "kernel"], ["features"], kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2], name="conv"),
        h.make_node("Relu", ["features"], ["positive"], name="relu"),
        h.make_node("Identity", ["positive"], ["same"], name="identity"),
        h.make_node("Cast", ["same"], ["raised"], to=types.FLOAT, name="raise"),
        h.make_node("ReduceMean", ["raised"], ["mean"], axes=[2, 3], keepdims=1, name="average"),
        h.make_node("Cast", ["mean"], ["mean_low"], to=types.FLOAT16, name="lower"),
        h.make_node("Add", ["same", "mean_low"], ["shifted"], name="shift"),
        h.make_node("Shape", ["shifted"], ["sides"], name="sides_of"),
        h.make_node("Reshape", ["shifted", "sides"], ["reshaped"], name="reshape"),
        h.make_node("Greater", ["reshaped", "zero"], ["above"], name="compare"),
        h.make_node("Where", ["above", "reshaped", "zero"], ["clipped"], name="choose"),
        h.make_node("ConvTranspose", ["clipped", "upsampling"], ["logits_low"], kernel_shape=[2, 2], strides=[2, 2], name="up"),
        h.make_node("Cast", ["logits_low"], ["logits"], to=types.FLOAT, name="to_logits"),
        *mask_tail(),
    ]  # fmt: skip
    weights = {
        "std": np.full((1, 3, 1, 1), 57, np.float32), "zero": np.zeros((), np.float16),
        "kernel": (rng.standard_normal((4, 3, 3, 3)) / 9).astype(np.float16),
        "upsampling": rng.standard_normal((4, 3, 2, 2)).astype(np.float16),
    }  # fmt: skip
    return write_nodes(path, nodes, weights)


def write_int8_graph(path: Path, rest: type[np.floating[Any]] = np.float32) -> Path:
    """The same contract in int8: pairs before, behind and at the weights of a convolution, and what is not int8 in `rest`."""
    h, types = onnx.helper, onnx.TensorProto
    rng = np.random.default_rng(0)
    code = types.FLOAT16 if rest is np.float16 else types.FLOAT
    nodes = [
        h.make_node("Cast", ["image"], ["floats"], to=types.FLOAT, name="to_float"),
        h.make_node("Transpose", ["floats"], ["nchw"], perm=[0, 3, 1, 2], name="to_nchw"),
        h.make_node("QuantizeLinear", ["nchw", "scale", "zero"], ["levels"], name="quantise"),
        h.make_node("DequantizeLinear", ["levels", "scale", "zero"], ["dequantised"], name="dequantise"),
        h.make_node("DequantizeLinear", ["kernel", "scales", "zeros"], ["weights"], axis=0, name="weights_of"),
        h.make_node("Conv", ["dequantised", "weights"], ["features"], kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2], name="conv"),
        h.make_node("Relu", ["features"], ["positive"], name="relu"),
        h.make_node("QuantizeLinear", ["positive", "scale", "zero"], ["again"], name="quantise_again"),
        h.make_node("DequantizeLinear", ["again", "scale", "zero"], ["read"], name="dequantise_again"),
        h.make_node("Cast", ["read"], ["rest"], to=code, name="to_rest"),
        h.make_node("Relu", ["rest"], ["rest_positive"], name="relu_of_rest"),
        h.make_node("ConvTranspose", ["rest_positive", "upsampling"], ["raw"], kernel_shape=[2, 2], strides=[2, 2], name="up"),
        h.make_node("Cast", ["raw"], ["logits"], to=types.FLOAT, name="to_logits"),
        *mask_tail(),
    ]  # fmt: skip
    weights = {
        "scale": np.float32(2), "zero": np.int8(0), "kernel": rng.integers(-127, 128, (4, 3, 3, 3), dtype=np.int8),
        "scales": np.full(4, 0.001, np.float32), "zeros": np.zeros(4, np.int8),
        "upsampling": rng.standard_normal((4, 3, 2, 2)).astype(rest),
    }  # fmt: skip
    return write_nodes(path, nodes, weights)


def write_nodes(path: Path, nodes: list[Any], weights: dict[str, Any]) -> Path:
    """A graph of opset 17 from `image` to `mask` that onnx finds whole."""
    h, types = onnx.helper, onnx.TensorProto
    image = h.make_tensor_value_info("image", types.UINT8, ["n", 16, 24, 3])
    mask = h.make_tensor_value_info("mask", types.UINT8, ["n", 16, 24])
    initializers = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    graph = h.make_graph(nodes, "tiny", [image], [mask], initializers)
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path
