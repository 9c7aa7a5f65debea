"""What ONNX Runtime made of a graph: the graph that it runs after its optimiser, read back, layer by layer beside the file's.

It fuses a convolution into an int8 one only where certain pairs of QuantizeLinear and DequantizeLinear are round it, and computes it in
float32 where they are not, without a word. So a file's name, its weights and its card say nothing about what runs.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from dlcv.runtime.errors import EngineError
from dlcv.runtime.graphs.onnx_graph import TYPES
from dlcv.runtime.graphs.protobuf import BYTES, VARINT, Field, Wire, WireError
from dlcv.runtime.sessions.executed import Operator

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators with multiply-adds, as an exported graph has them."""
INT8_OPERATORS = ("QLinearConv", "QLinearMatMul", "QGemm", "ConvInteger", "MatMulInteger", "MatMulIntegerToFloat")
FLOAT_OPERATORS = (*LAYERS, "FusedConv", "NhwcFusedConv", "FusedGemm", "FusedMatMul")
_PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64"}
_RENAMED = "_token_"
"""ONNX Runtime's copy of a node in another layout is named `conv_token_7`."""


@dataclass(frozen=True)
class Node:
    """An operator of a graph."""

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass
class Graph:
    """As much of a graph as tells its layers.

    Attributes:
        nodes: in their order; those of graphs inside of nodes are left out.
        types: of the weights, such as `float32`, by name.
        shapes: of weights, of what lies between, and of the outputs, by name; None for a side that varies, as the batch does.
    """

    nodes: list[Node] = field(default_factory=list)
    types: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, list[int | None]] = field(default_factory=dict)

    def layers(self) -> list[Node]:
        """The nodes with multiply-adds, in their order."""
        return [node for node in self.nodes if node.operator in LAYERS and len(node.inputs) > 1]

    def makers(self) -> dict[str, Node]:
        """The node that makes each value."""
        return {name: node for node in self.nodes for name in node.outputs}


def read_graph(source: Path | bytes) -> Graph:
    """Reads a graph's nodes, the types and shapes of its weights, and the shapes of what its layers read and give.

    Weights themselves are skipped, and other values too: a session is opened meanwhile.

    Raises:
        EngineError: when it is not an ONNX file.
    """
    graph, values = Graph(), list[Field]()
    try:
        with _opened(source) as (file, size):
            wire = Wire(file, size)
            for item in wire.fields(0, size):
                if item.number == 7 and item.wire == BYTES:
                    for part in wire.fields(item.start, item.end):
                        _part(wire, part, graph, values)
            wanted = _with_shapes(graph)
            for value in values if wanted else ():
                _value(wire, value, graph, wanted)
    except (WireError, OSError) as error:
        raise EngineError(f"ONNX Runtime's graph cannot be read: {error}") from error
    return graph


def precisions_run(source: Graph, optimised: Graph) -> list[str] | None:
    """What each of `source.layers()` is computed in: `int8`, or the float type of the others.

    A layer is in int8 where an int8 operator of the optimised graph is it by name or reads its weight; what is not found there is not. A
    weight that several layers share tells of them only where as many int8 operators read it.

    Returns:
        None where the float operators that are left have several types, so that it is not known which has which.
    """
    int8 = [node for node in optimised.nodes if node.operator in INT8_OPERATORS]
    read = Counter(name for node in int8 for name in set(node.inputs))
    named = {node.name.partition(_RENAMED)[0] for node in int8}
    floats = {float_type(node, optimised) for node in optimised.nodes if node.operator in FLOAT_OPERATORS}
    if len(floats) > 1:
        return None
    (rest,) = floats or {"fp32"}
    makers, layers = source.makers(), source.layers()
    weights = [_weight(node, makers) for node in layers]
    share = Counter(weights)
    found = []
    for node, weight in zip(layers, weights):
        is_int8 = read[weight] >= share[weight] or (node.name and node.name in named)
        found.append("int8" if is_int8 else rest)
    return found


def operators_run(source: Graph, optimised: Graph) -> tuple[Operator, ...] | None:
    """The layers of `source` with what each is computed in; None where that, or a shape, is not known."""
    precisions, makers = precisions_run(source, optimised), source.makers()
    if precisions is None:
        return None
    found = []
    for node, precision in zip(source.layers(), precisions):
        work = _multiply_adds(node, source, makers)
        if work is None:
            return None
        found.append(Operator(node.name or node.outputs[0], node.operator, precision, work))
    return tuple(found)


def float_type(node: Node, graph: Graph) -> str:
    """What a float operator of an optimised graph computes in, such as `fp32`, by its weight."""
    kind = graph.types.get(node.inputs[1], "float32")
    return _PRECISIONS.get(kind, "fp32")


@contextmanager
def optimised_path(options: Any) -> Iterator[Path]:
    """Has ONNX Runtime write the graph that it runs, without the weights where the system has links: they may be gigabytes.

    Args:
        options: `onnxruntime.SessionOptions` of the session that is opened inside of `with`.

    Yields:
        The file, to be read before `with` ends.
    """
    try:
        scratch = tempfile.TemporaryDirectory(prefix="dlcv-optimised.")
    except OSError as error:
        raise EngineError(
            f"no temporary file can be made ({error.strerror or error}), in which ONNX Runtime tells what it runs in int8; "
            "point TMPDIR at a folder with space"
        ) from error
    with scratch as folder:
        path = Path(folder) / "graph.onnx"
        options.optimized_model_filepath = str(path)
        try:
            (path.parent / "weights").symlink_to(os.devnull)
        except OSError:
            pass
        else:
            prefix = "session.optimized_model_external_initializers_"
            options.add_session_config_entry(f"{prefix}file_name", "weights")
            options.add_session_config_entry(f"{prefix}min_size_in_bytes", "1024")
        yield path


def _weight(node: Node, makers: Mapping[str, Node]) -> str:
    """The name of a layer's weight, before DequantizeLinear and Cast."""
    name = node.inputs[1]
    while name in makers and makers[name].operator in ("DequantizeLinear", "Cast"):
        name = makers[name].inputs[0]
    return name


def _multiply_adds(node: Node, graph: Graph, makers: Mapping[str, Node]) -> int | None:
    """For one image, from the shapes of weight and output (of a transposed convolution: input); None where one is not known."""
    weight = graph.shapes.get(_weight(node, makers))
    if node.operator == "Gemm" and weight and None not in weight:  # one row an image; its output may be told nowhere
        return math.prod(side for side in weight if side is not None)
    value = graph.shapes.get(node.inputs[0] if node.operator == "ConvTranspose" else node.outputs[0])
    if node.operator == "ConvTranspose" and value is None:
        value = graph.shapes.get(_dequantised(node.inputs[0], makers))
    if not weight or not value or len(value) < 2 or len(weight) < 2:
        return None
    sides = [
        *value[1:],
        *(weight[1:] if "Conv" in node.operator else [math.prod(map(int, filter(None, weight))) // (value[-1] or 1)]),
    ]
    return math.prod(side for side in sides if side is not None) if None not in sides else None


def _dequantised(name: str, makers: Mapping[str, Node]) -> str:
    """What a pair of QuantizeLinear and DequantizeLinear was made from."""
    while name in makers and makers[name].operator in ("DequantizeLinear", "QuantizeLinear"):
        name = makers[name].inputs[0]
    return name


@contextmanager
def _opened(source: Path | bytes) -> Iterator[tuple[IO[bytes], int]]:
    if isinstance(source, bytes):
        yield BytesIO(source), len(source)
        return
    with open(source, "rb", buffering=0) as file:
        yield file, source.stat().st_size


def _with_shapes(graph: Graph) -> set[str]:
    """The values whose shapes tell multiply-adds."""
    makers = graph.makers()
    sides = [(node.inputs[0], _dequantised(node.inputs[0], makers), node.outputs[0]) for node in graph.layers()]
    return {name for names in sides for name in names}


def _part(wire: Wire, part: Field, graph: Graph, values: list[Field]) -> None:
    """A field of a GraphProto; those that tell a value's shape are put into `values`."""
    if part.wire != BYTES:
        return
    if part.number == 1:
        graph.nodes.append(_node(wire, part))
    elif part.number == 5:
        name, kind, sides = "", 0, list[int | None]()
        for item in wire.fields(part.start, part.end):
            if item.number == 1:
                sides += wire.integers(item)
            elif item.number == 2 and item.wire == VARINT:
                kind = item.value
            elif item.number == 8:
                name = wire.text(item)
        graph.types[name], graph.shapes[name] = TYPES.get(kind, ("", 0))[0], sides
    elif part.number in (12, 13):
        values.append(part)


def _node(wire: Wire, message: Field) -> Node:
    inputs, outputs, texts = list[str](), list[str](), {3: "", 4: ""}
    for item in wire.fields(message.start, message.end):
        if item.number == 1:
            inputs.append(wire.text(item))
        elif item.number == 2:
            outputs.append(wire.text(item))
        elif item.number in texts:
            texts[item.number] = wire.text(item)
    return Node(texts[4], texts[3], tuple(inputs), tuple(outputs))


def _value(wire: Wire, message: Field, graph: Graph, wanted: Container[str]) -> None:
    """A ValueInfoProto: name, and type > tensor_type > shape > dim > dim_value."""
    name = ""
    for item in wire.fields(message.start, message.end):
        if item.number == 1:
            name = wire.text(item)
        elif item.number == 2 and name in wanted:
            for shape in _inside(wire, item, (1, 2)):
                graph.shapes[name] = [_side(wire, dim) for dim in wire.fields(shape.start, shape.end)]


def _inside(wire: Wire, message: Field, numbers: tuple[int, ...]) -> list[Field]:
    """The messages at the end of a path of field numbers."""
    found = [message]
    for number in numbers:
        found = [
            one for outer in found for one in wire.fields(outer.start, outer.end)
            if one.number == number and one.wire == BYTES
        ]  # fmt: skip
    return found


def _side(wire: Wire, message: Field) -> int | None:
    return next(
        (item.value for item in wire.fields(message.start, message.end) if item.number == 1 and item.wire == VARINT),
        None,
    )
