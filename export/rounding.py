"""A float16 or bfloat16 graph as float32 arithmetic whose every result is rounded to the low type.

ONNX Runtime's CPU provider computes a float16 graph in float32 from end to end (it takes the casts between two layers away), so
a value that overflows float16 on a GPU passes there; bfloat16 convolutions it does not know at all. A graph whose results are
rounded explicitly shows both what overflows and what is lost, on any machine. It stands for hardware that sums in float32 and
rounds once, as tensor cores do.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LOW_KINDS = {TensorProto.FLOAT16, TensorProto.BFLOAT16}
_EXACT = {"Relu", "MaxPool", "Reshape", "Transpose", "Flatten", "Slice", "Concat", "Identity", "Pad"}
"""What only picks among values that are rounded already."""


def rounded_twin(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph in float32, with every result that was of a low type rounded to it; a graph without any as it is.

    Args:
        proto: left as it is.
    """
    twin = onnx.ModelProto()
    twin.CopyFrom(proto)
    graph = twin.graph
    kinds = type_of_values(proto)
    for tensor in graph.initializer:
        if tensor.data_type in LOW_KINDS:
            tensor.CopyFrom(_wide(tensor))
    nodes = list(graph.node)
    del graph.node[:], graph.value_info[:]
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t") and attribute.t.data_type in LOW_KINDS:
                attribute.t.CopyFrom(_wide(attribute.t))
        graph.node.append(node)
        for place, name in enumerate(node.output):
            if kinds.get(name) in LOW_KINDS and node.op_type not in {*_EXACT, "Constant"}:
                graph.node[-1].output[place] = f"{name}_wide"
                graph.node.extend(_rounding(name, kinds[name]))
    return twin


def _rounding(name: str, kind: int) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Cast", [f"{name}_wide"], [f"{name}_low"], to=kind),
        helper.make_node("Cast", [f"{name}_low"], [name], to=TensorProto.FLOAT),
    ]


def _wide(tensor: onnx.TensorProto) -> onnx.TensorProto:
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)


def type_of_values(proto: onnx.ModelProto) -> dict[str, int]:
    """Element type of each value, as `TensorProto` numbers them."""
    inferred = onnx.shape_inference.infer_shapes(proto)
    values = (*inferred.graph.value_info, *inferred.graph.output)
    return {value.name: value.type.tensor_type.elem_type for value in values}
