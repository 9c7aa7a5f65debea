"""A graph in an older opset than torch's exporter writes, for builders that read no newer one (TensorRT 8.6: 17).

torch's exporter is asked first and gives what it can; what is left from 18 to 17 is done here, for the operators that mean the
same in both. The graph is verified afterwards like any other.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import helper, numpy_helper

from dlcv.runtime.errors import ExportError

RESIZE_18 = {"antialias": 0, "keep_aspect_ratio_policy": b"stretch"}
"""What opset 18 added to Resize, with the values that mean what 17 does."""


def lower_opset(proto: onnx.ModelProto, opset: int) -> None:
    """Brings a graph to an older opset; changes `proto`.

    Args:
        proto: of any opset.
        opset: that it shall have; a graph that is not newer is left as it is.

    Raises:
        ExportError: when an operator means something else there; names it.
    """
    own = next(entry for entry in proto.opset_import if entry.domain == "")
    if own.version <= opset:
        return
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    problems = [
        f"{node.op_type} {node.name}"
        for node in proto.graph.node
        if node.domain == "" and not _same(node, own.version, opset) and not _rewritten(node, opset, constants)
    ]
    if problems:
        raise ExportError(
            f"the graph cannot be brought from opset {own.version} to {opset}: {', '.join(problems[:5])}; "
            "build the plan with a newer TensorRT"
        )
    own.version = opset
    used = {name for node in proto.graph.node for name in node.input}
    for tensor in [tensor for tensor in proto.graph.initializer if tensor.name not in used]:
        proto.graph.initializer.remove(tensor)


def _same(node: onnx.NodeProto, newer: int, older: int) -> bool:
    """Whether both opsets hold the same definition of the operator."""
    try:
        return bool(
            onnx.defs.get_schema(node.op_type, newer).since_version
            == onnx.defs.get_schema(node.op_type, older).since_version
        )
    except onnx.defs.SchemaError:
        return False


def _rewritten(node: onnx.NodeProto, opset: int, constants: dict[str, onnx.TensorProto]) -> bool:
    """Whether an operator of opset 18 now is what it was in 17; changes `node`."""
    if opset != 17:
        return False
    if node.op_type == "Resize":
        return _drop(node, RESIZE_18) and not any(attribute.name == "axes" for attribute in node.attribute)
    if not node.op_type.startswith("Reduce") or not _drop(node, {"noop_with_empty_axes": 0}):
        return False
    if len(node.input) == 2:
        if node.input[1] not in constants:
            return False
        axes = numpy_helper.to_array(constants[node.input[1]]).tolist()
        del node.input[1]
        node.attribute.append(helper.make_attribute("axes", axes))
    return True


def _drop(node: onnx.NodeProto, harmless: Mapping[str, object]) -> bool:
    """Takes out attributes that 17 does not know; False when one of them matters."""
    new = [attribute for attribute in node.attribute if attribute.name in harmless]
    if any(helper.get_attribute_value(attribute) != harmless[attribute.name] for attribute in new):
        return False
    for attribute in new:
        node.attribute.remove(attribute)
    return True
