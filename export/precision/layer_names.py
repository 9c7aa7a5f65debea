"""Nodes of a graph by the names that the model itself gives its layers, so that float32 and low graphs can be told side by side.

torch's exporter keeps a weight's name (`network.features.0.weight`) where it numbers the nodes anew in each graph.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx

WRAPPERS = {"network", "layer"}
"""What wraps a network, or a layer of it, for an export (`graph.py`, `precision.py`): no part of the model's own names."""

SUFFIXES = ("_fp16", "_requantised", "_quantized")
"""What the quantizer and `int8_with_fp16.py` put behind a weight's name, the last one first."""


def layer_name(node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto]) -> str:
    """The module whose weight a node reads, such as `features.0`; the node's own name, or its output's, where the graph gives none.

    Args:
        node: a convolution or a matrix product.
        makers: the node that makes each value; a weight may pass through DequantizeLinear and Cast.
    """
    weight = node.input[1]
    while weight in makers and makers[weight].op_type in ("DequantizeLinear", "Cast"):
        weight = makers[weight].input[0]
    for suffix in SUFFIXES:
        weight = weight.removesuffix(suffix)
    if not weight.endswith(".weight"):
        return node.name or str(node.output[0])
    return ".".join(part for part in weight.removesuffix(".weight").split(".") if part not in WRAPPERS)


def makers_of(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """The node that makes each value."""
    return {name: node for node in graph.node for name in node.output}
