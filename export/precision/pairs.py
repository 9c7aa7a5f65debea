"""The pairs of QuantizeLinear and DequantizeLinear that a quantizer has placed, arranged for those who read them.

ONNX Runtime computes a convolution in int8 only where certain pairs are round it; logits keep float32; and a layer that is
restored to float32 reads nothing that was quantised for it.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx
from onnx import numpy_helper

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""What is quantised: where the multiply-adds are."""
_KEEPS_RANGE = ("Relu", "MaxPool")
"""A value that int8 cuts off before them is cut off behind them likewise, so the range behind them serves before them."""
_ONE_INPUT = (*_KEEPS_RANGE, "AveragePool", "GlobalAveragePool", "ReduceMean", "Flatten", "Reshape", "Identity")
"""What makes a value of one value; an Add or a Concat has others that would be freed with it."""


def arrange(graph: onnx.GraphProto) -> None:
    """Logits without a pair behind them, pairs before Relu with the range of those behind, each reader with its own pair."""
    _free_the_logits(graph)
    _share_ranges(graph)
    _give_each_user_a_pair(graph)
    _drop_unused(graph)


def free_restored(graph: onnx.GraphProto, restored: Collection[str], *, take_from_layers: bool = False) -> None:
    """Takes away the pairs that a restored node would read, up to the layer before it, through Relu and pooling.

    Before `arrange`: a pair still serves all readers of a value. Where another layer reads the value too, its own pair stays.

    Args:
        graph: is changed.
        restored: names of nodes.
        take_from_layers: also take the pair directly behind the layer before, so that nothing at all is quantised in between.
            ONNX Runtime then computes that layer in float32 too, whatever its multiply-adds are.
    """
    kept: set[str] = set()
    if not take_from_layers:
        _share_ranges(graph)  # while the range behind Relu is still there
        kept = {
            name for node in graph.node if node.op_type in LAYERS and node.name not in restored for name in node.output
        }
    for node in [node for node in graph.node if node.name in restored]:
        for place, name in enumerate(node.input[:2]):
            node.input[place] = _unquantised(graph, name, kept)
        _free_upstream(graph, node.input[0], kept)
    _drop_unread_pairs(graph)


def _unquantised(graph: onnx.GraphProto, name: str, kept: Collection[str]) -> str:
    """What a pair is made from; the name itself where no pair makes it, that of a weight, or where the pair of a value is kept."""
    dequantize = _maker(graph, name, "DequantizeLinear")
    quantize = None if dequantize is None else _maker(graph, dequantize.input[0], "QuantizeLinear")
    return name if quantize is None or quantize.input[0] in kept else str(quantize.input[0])


def _free_upstream(graph: onnx.GraphProto, name: str, kept: Collection[str]) -> None:
    maker = next((node for node in graph.node if name in node.output), None)
    if maker is not None and maker.op_type in _ONE_INPUT:
        maker.input[0] = _unquantised(graph, maker.input[0], kept)
        _free_upstream(graph, maker.input[0], kept)


def _drop_unread_pairs(graph: onnx.GraphProto) -> None:
    outputs = {output.name for output in graph.output}
    for kind in ("DequantizeLinear", "QuantizeLinear"):
        for node in [n for n in graph.node if n.op_type == kind and n.output[0] not in outputs]:
            if not _users(graph, node.output[0]):
                graph.node.remove(node)


def _maker(graph: onnx.GraphProto, name: str, kind: str) -> onnx.NodeProto | None:
    return next((node for node in graph.node if node.op_type == kind and name in node.output), None)


def _free_the_logits(graph: onnx.GraphProto) -> None:
    """Takes away the pair behind a layer that no other layer follows: with 255 levels, logits would tie."""
    feeds_a_layer: set[str] = set()
    for node in reversed(graph.node):
        if node.op_type in LAYERS or feeds_a_layer & set(node.output):
            feeds_a_layer.update(node.input)
    makers = {name: node for node in graph.node for name in node.output}
    outputs = {output.name for output in graph.output}
    for node in [n for n in graph.node if n.op_type == "DequantizeLinear" and n.output[0] not in feeds_a_layer]:
        quantize = makers.get(node.input[0])
        if quantize is not None and quantize.op_type == "QuantizeLinear":
            free, paired = str(quantize.input[0]), str(node.output[0])
            if paired in outputs:  # the graph's output keeps its name: the layer itself makes it
                free, paired = paired, free
                makers[paired].output[:] = [free if name == paired else name for name in makers[paired].output]
            for user in graph.node:
                user.input[:] = [free if name == paired else name for name in user.input]
            graph.node.remove(node)
            graph.node.remove(quantize)


def _share_ranges(graph: onnx.GraphProto) -> None:
    """Where a layer's pair is followed by Relu and pooling alone up to the next pair, it takes that pair's scale.

    ONNX Runtime computes a convolution in int8 only where its very output is quantised, so there is a pair before Relu too.
    What is negative ends as 0 whatever cuts it, and the next pair finds values that are on its grid already: nothing is lost.
    """
    for first in [node for node in graph.node if node.op_type == "QuantizeLinear"]:
        users = _users(graph, first.output[0])
        if len(users) != 1 or users[0].op_type != "DequantizeLinear":
            continue
        after = _users(graph, users[0].output[0])
        scale = _next_scale(graph, users[0].output[0]) if [u.op_type for u in after] == ["Relu"] else None
        if scale:
            first.input[1:] = users[0].input[1:] = scale


def _give_each_user_a_pair(graph: onnx.GraphProto) -> None:
    """A pair that several nodes read becomes one for each, with scales that differ in the last bit.

    ONNX Runtime (1.31) leaves a convolution in float32 whose input's pair has other readers, and joins pairs that are alike.
    """
    scales = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    for node in [n for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in makers]:
        first = makers[node.input[0]]
        scale = numpy_helper.to_array(scales[first.input[1]])
        for number, user in enumerate(_users(graph, node.output[0])[1:], 1):
            scale = np.nextafter(scale, np.float32(np.inf), dtype=np.float32)
            names = {name: f"{name}_{number}" for name in (*first.output, *node.output, first.input[1])}
            graph.initializer.append(numpy_helper.from_array(np.asarray(scale), names[first.input[1]]))
            place = list(graph.node).index(node) + 1
            for offset, old in enumerate((first, node)):
                new = onnx.NodeProto()
                new.CopyFrom(old)
                new.name = f"{old.name}_{number}"
                new.input[:], new.output[:] = (
                    [names.get(name, name) for name in side] for side in (old.input, old.output)
                )
                graph.node.insert(place + offset, new)
            user.input[:] = [names.get(name, name) for name in user.input]


def _next_scale(graph: onnx.GraphProto, name: str) -> list[str] | None:
    """Scale and zero point of the next pair behind what keeps the range; None where there is none."""
    for user in _users(graph, name):
        if user.op_type == "QuantizeLinear":
            return list(user.input[1:])
        if user.op_type in _KEEPS_RANGE and (found := _next_scale(graph, user.output[0])):
            return found
    return None


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Takes away the scales that no node reads any more, about which ONNX Runtime would warn."""
    read = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)


def _users(graph: onnx.GraphProto, name: str) -> list[onnx.NodeProto]:
    return [node for node in graph.node if name in node.input]
