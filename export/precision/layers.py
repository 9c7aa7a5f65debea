"""The layers of a graph that have multiply-adds: how many each does for one image, and in which type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto

from dlcv.export.precision.layer_names import layer_name, makers_of
from dlcv.runtime.card.card import card_from_json
from dlcv.runtime.card.reader import ONNX_KEY
from dlcv.runtime.errors import ExportError, one_line
from dlcv.runtime.sessions.onnxrt_graph import LAYERS

KINDS: dict[int, str] = {
    TensorProto.FLOAT: "fp32", TensorProto.FLOAT16: "fp16", TensorProto.BFLOAT16: "bf16", TensorProto.DOUBLE: "fp64",
    TensorProto.INT8: "int8", TensorProto.UINT8: "uint8",
}  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """A layer with multiply-adds.

    Attributes:
        name: the model's own, such as `features.0`, else of its node.
        operator: one of `LAYERS`.
        kind: the type of its input and weight: `fp32`, `fp16`, `bf16`, `int8`, or both where they differ, such as `fp32 x int8`.
        multiply_adds: for one image.
        ran: what ONNX Runtime computes it in on a CPU; empty where that is not known.
        may_be_int8: whether ONNX Runtime could compute it in int8. It has no transposed convolution in int8, and what gives the
            logits, or is a matrix product, hands on float32 (`pairs.py`, `calibration.py`), which its int8 kernels do not.
    """

    name: str
    operator: str
    kind: str
    multiply_adds: int
    ran: str = ""
    may_be_int8: bool = True


def layers_of(proto: onnx.ModelProto) -> tuple[Layer, ...]:
    """The layers with multiply-adds, in the graph's order.

    A layer is in int8 when both its input and its weight come from a DequantizeLinear of int8: that is what an engine takes for an
    int8 layer. Otherwise it is in the types of the two.

    Raises:
        ExportError: when a layer's shapes are not known.
    """
    single = _single(proto)
    graph = single.graph
    values = (*graph.input, *graph.value_info, *graph.output)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
    kinds = {v.name: v.type.tensor_type.elem_type for v in values}
    for tensor in graph.initializer:
        shapes[tensor.name], kinds[tensor.name] = list(tensor.dims), tensor.data_type
    if unknown := _unknown(graph, shapes):
        shapes |= _seen_shapes(single, unknown)
    makers = makers_of(graph)
    found = []
    for node in graph.node:
        if node.op_type in LAYERS:
            sides = [_kind(name, kinds, makers) for name in node.input[:2]]
            kind = sides[0] if sides[0] == sides[1] else " x ".join(sides)
            found.append(Layer(layer_name(node, makers), node.op_type, kind, _multiply_adds(node, shapes)))
    return tuple(found)


def _unknown(graph: onnx.GraphProto, shapes: Mapping[str, list[int]]) -> list[str]:
    """What layers take and give whose shapes could not be inferred, such as those of attention where the image's size varies."""
    names = [name for node in graph.node if node.op_type in LAYERS for name in (*node.input[:2], node.output[0])]
    return [name for name in dict.fromkeys(names) if not shapes.get(name) or not all(shapes[name])]


def _seen_shapes(single: onnx.ModelProto, names: Sequence[str]) -> dict[str, list[int]]:
    """The shapes that values have when ONNX Runtime runs the graph on one image; none where it does not run it here."""
    told = onnx.ModelProto()
    told.CopyFrom(single)
    given = {output.name for output in told.graph.output}
    told.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in given)
    image = [side.dim_value for side in told.graph.input[0].type.tensor_type.shape.dim]
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(told.SerializeToString(), options, providers=["CPUExecutionProvider"])
        found = session.run(list(names), {told.graph.input[0].name: np.zeros(image, np.uint8)})
    except Exception:  # its exceptions share no base; who asks says that the shapes are not known
        return {}
    return {name: list(values.shape) for name, values in zip(names, found, strict=True)}


def _single(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The graph for a batch of one of its card's size, with all shapes that can be known."""
    single = onnx.ModelProto()
    single.CopyFrom(proto)
    del single.graph.value_info[:]
    for value in (*single.graph.input, *single.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    _pin_size(single)
    try:
        return onnx.shape_inference.infer_shapes(single, data_prop=True)
    except Exception as error:  # a graph that onnx cannot read
        raise ExportError(f"the graph's multiply-adds cannot be counted: {one_line(error)[:400]}") from error


def _pin_size(proto: onnx.ModelProto) -> None:
    """Gives height and width their card's size where they vary; what follows from them is left to be inferred."""
    image = proto.graph.input[0].type.tensor_type.shape.dim
    card = next((entry.value for entry in proto.metadata_props if entry.key == ONNX_KEY), None)
    if card is None or all(side.HasField("dim_value") for side in image):
        return
    for side, pixels in zip(image[1:3], card_from_json(card, "the graph").input_size_hw):
        side.dim_value = pixels
    for output in proto.graph.output:
        for side in output.type.tensor_type.shape.dim:
            side.ClearField("dim_param")


def _kind(name: str, kinds: Mapping[str, int], makers: Mapping[str, onnx.NodeProto]) -> str:
    maker = makers.get(name)
    if maker is not None and maker.op_type == "DequantizeLinear":
        name = maker.input[0]
    return KINDS.get(kinds.get(name, 0), "of unknown type")


def _multiply_adds(node: onnx.NodeProto, shapes: Mapping[str, list[int]]) -> int:
    """For one image, from the shapes of input, weight and output."""
    first, weight, out = (shapes.get(name, []) for name in (*node.input[:2], node.output[0]))
    if not all(first) or not all(weight) or not all(out) or not (first and weight and out):
        raise ExportError(
            f"the multiply-adds of {node.name} ({node.op_type}) cannot be counted: its shapes are not known"
        )
    if node.op_type == "Conv":
        return _product(out) * _product(weight[1:])
    if node.op_type == "ConvTranspose":
        return _product(first) * _product(weight[1:])
    transposed = node.op_type == "Gemm" and any(a.name == "transA" and a.i for a in node.attribute)
    return _product(out) * first[0 if transposed else -1]


def _product(sides: list[int]) -> int:
    total = 1
    for side in sides:
        total *= side
    return total
