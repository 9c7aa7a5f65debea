"""The same graph with its logits alone as the output, for a plan that shows what a mask or probabilities hide: NaN, Inf, how far off.

ONNX Runtime is given a twin with the logits beside the head (`verify.py`). A session of a plan gives what its card names, so here the
head is exchanged, and the card says so.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from dlcv.export.onnx_from_checkpoint import logits_name, with_card
from dlcv.runtime.card.card import ModelCard

HEAD = "logits"


def logits_graph(proto: onnx.ModelProto, card: ModelCard, *, newest_opset: int | None = None) -> tuple[onnx.ModelProto, ModelCard]:  # fmt: skip
    """A graph and its card with the head `logits`.

    Args:
        proto: a graph of this project; left as it is.
        card: of the graph.
        newest_opset: that the graph was made for.

    Raises:
        ExportError: when the head is not the one that the card names, or what comes of it breaks the contract.
    """
    twin, twin_card = onnx.ModelProto(), card.changed(head=HEAD)
    twin.CopyFrom(proto)
    if card.head == HEAD:
        return twin, card
    name, graph = logits_name(twin, card), twin.graph
    needed, nodes = {name}, []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed.update(node.input)
            nodes.append(node)
    nodes.append(helper.make_node("Identity", [name], [HEAD], HEAD))
    kept = [*reversed(nodes[:-1]), nodes[-1]]
    sides = (
        []
        if card.task == "classification"
        else [_side(side) for side in graph.output[0].type.tensor_type.shape.dim[-2:]]
    )
    del graph.node[:]
    graph.node.extend(kept)
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(HEAD, TensorProto.FLOAT, ["N", len(card.classes), *sides]))
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in needed]:
        graph.initializer.remove(tensor)
    return with_card(twin, twin_card, newest_opset=newest_opset), twin_card


def _side(side: onnx.TensorShapeProto.Dimension) -> int | str:
    return side.dim_value or side.dim_param
