"""The element type of every value of an ONNX graph, read without onnx.

A TensorRT that does not take its types from the graph is told them layer by layer (`layer_types.py`), where there may be no
package onnx. Types that the graph declares count first; others follow from the operators.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dlcv.runtime.errors import EngineError, ExportError
from dlcv.runtime.graphs.onnx_graph import TYPES
from dlcv.runtime.graphs.protobuf import BYTES, Field, Wire, WireError

QUANTISERS = ("QuantizeLinear", "DequantizeLinear")
_FIXED = dict.fromkeys(("Shape", "Size", "ArgMax", "ArgMin", "NonZero", "NonMaxSuppression"), "int64") | dict.fromkeys(
    ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "IsNaN", "IsInf"), "bool"
)
"""Operators whose result has the same type whatever they are given."""
_LIKE = {"Where": 1, "OneHot": 2, "CastLike": 1, "DequantizeLinear": 1, "QuantizeLinear": 2}
"""Which input an operator's result is of the type of; of all others it is the first."""
_SECOND = {"TopK": "int64", "MaxPool": "int64", "Dropout": "bool"}
"""The type of a second result where it is another."""
_UNTOLD = ("If", "Loop", "Scan", "Optional", "ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul",
           "DynamicQuantizeLinear", "SequenceAt", "Unique", "EyeLike", "RandomNormal", "RandomUniform")  # fmt: skip
"""Their types follow from no input."""
_CONSTANT = {"value_float": "float32", "value_floats": "float32", "value_int": "int64", "value_ints": "int64"}


@dataclass
class _Node:
    operator: str = ""
    domain: str = ""
    name: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    told: str = ""  # by an attribute: `to` of Cast, the tensor of Constant


@dataclass(frozen=True)
class GraphTypes:
    """What a graph says of its types.

    Attributes:
        values: element type by name of the value, such as `float16`: inputs, weights and what nodes give.
        quantised: whether it holds QuantizeLinear or DequantizeLinear.
    """

    values: dict[str, str]
    quantised: bool

    def holds(self, element_type: str) -> bool:
        return element_type in self.values.values()


def graph_types(path: Path) -> GraphTypes:
    """Reads the types.

    Args:
        path: of an ONNX file.

    Raises:
        EngineError: when it is not an ONNX file, or is damaged.
        ExportError: when the type of a value follows from nothing that is known.
    """
    reader = _Reader()
    try:
        with open(path, "rb", buffering=0) as file:
            reader.model(Wire(file, path.stat().st_size))
    except (WireError, OSError) as error:
        raise EngineError(f"{path} is not an ONNX file, or is damaged: {error}; export the model again") from error
    values = reader.declared | reader.weights
    for node in reader.nodes:
        for place, name in enumerate(node.outputs):
            if name and name not in values:  # an optional result that is not asked for has no name
                values[name] = _result(node, place, values, path)
    return GraphTypes(values, any(node.operator in QUANTISERS for node in reader.nodes))


def _result(node: _Node, place: int, values: dict[str, str], path: Path) -> str:
    """The type of one of a node's results, from its operator and its inputs."""
    if node.domain in ("", "ai.onnx") and node.operator not in _UNTOLD:
        if place and node.operator in _SECOND:
            return _SECOND[node.operator]
        if node.operator in _FIXED or node.told:
            return _FIXED.get(node.operator) or node.told
        at = _LIKE.get(node.operator, 0)
        if at < len(node.inputs) and node.inputs[at] in values:
            return values[node.inputs[at]]
    raise ExportError(
        f"{path} does not tell the type of {node.outputs[place]!r}, which {node.operator} {node.name} gives; "
        "build with TensorRT 10 or newer, which works it out itself"
    )


class _Reader:
    """Field numbers as in onnx.proto. Nodes stand before the weights in a file, so types are worked out afterwards."""

    def __init__(self) -> None:
        self.nodes: list[_Node] = []
        self.weights: dict[str, str] = {}
        self.declared: dict[str, str] = {}

    def model(self, wire: Wire) -> None:
        for item in wire.fields(0, wire.size):
            if item.number == 7 and item.wire == BYTES:
                self._graph(wire, item)

    def _graph(self, wire: Wire, message: Field) -> None:
        for item in wire.fields(message.start, message.end):
            if item.number == 1:
                self.nodes.append(_node(wire, item))
            elif item.number == 5:
                name, dtype = _tensor(wire, item)
                self.weights[name] = dtype
            elif item.number in (11, 12, 13):
                self._value(wire, item)

    def _value(self, wire: Wire, message: Field) -> None:
        name, dtype = "", ""
        for item in wire.fields(message.start, message.end):
            if item.number == 1:
                name = wire.text(item)
            elif item.number == 2:
                dtype = _tensor_type(wire, item)
        if dtype:
            self.declared[name] = dtype


def _node(wire: Wire, message: Field) -> _Node:
    node = _Node()
    for item in wire.fields(message.start, message.end):
        if item.number in (1, 2):
            (node.inputs if item.number == 1 else node.outputs).append(wire.text(item))
        elif item.number == 3:
            node.name = wire.text(item)
        elif item.number == 4:
            node.operator = wire.text(item)
        elif item.number == 7:
            node.domain = wire.text(item)
        elif item.number == 5:
            node.told = _told(wire, item) or node.told
    if node.operator == "ConstantOfShape":
        node.told = node.told or "float32"
    if node.operator not in ("Cast", "Constant", "ConstantOfShape"):
        node.told = ""
    return node


def _told(wire: Wire, message: Field) -> str:
    """The type in an attribute that tells one: `to`, or the value of a constant."""
    name, number, dtype = "", 0, ""
    for item in wire.fields(message.start, message.end):
        if item.number == 1:
            name = wire.text(item)
        elif item.number == 3:
            number = item.value
        elif item.number == 5 and item.wire == BYTES:
            dtype = _tensor(wire, item)[1]
    if name == "to":
        return _name(number)
    return dtype if name == "value" else _CONSTANT.get(name, "")


def _tensor(wire: Wire, message: Field) -> tuple[str, str]:
    """Name and type of a TensorProto."""
    name, code = "", 0
    for item in wire.fields(message.start, message.end):
        if item.number == 2:
            code = item.value
        elif item.number == 8:
            name = wire.text(item)
    return name, _name(code)


def _tensor_type(wire: Wire, message: Field) -> str:
    """Of a TypeProto that is one of a tensor; empty for others."""
    for kind in wire.fields(message.start, message.end):
        if kind.number == 1 and kind.wire == BYTES:
            for item in wire.fields(kind.start, kind.end):
                if item.number == 1:
                    return _name(item.value)
    return ""


def _name(code: int) -> str:
    return TYPES.get(code, (f"type {code}", 0))[0]
