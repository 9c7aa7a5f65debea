"""What an ONNX file holds, read without onnx: inputs, outputs, opset, operators, and the types of its weights.

Only the fields that are asked for are decoded (field numbers as in onnx.proto); weights are skipped, not loaded. Graphs
inside of nodes (If, Loop) count too.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from dlcv.runtime.errors import EngineError
from dlcv.runtime.graphs.port import Port
from dlcv.runtime.graphs.protobuf import BYTES, VARINT, Field, Wire, WireError

TYPES = {
    1: ("float32", 32), 2: ("uint8", 8), 3: ("int8", 8), 4: ("uint16", 16), 5: ("int16", 16), 6: ("int32", 32),
    7: ("int64", 64), 8: ("string", 0), 9: ("bool", 8), 10: ("float16", 16), 11: ("float64", 64), 12: ("uint32", 32),
    13: ("uint64", 64), 14: ("complex64", 64), 15: ("complex128", 128), 16: ("bfloat16", 16), 17: ("float8e4m3fn", 8),
    18: ("float8e4m3fnuz", 8), 19: ("float8e5m2", 8), 20: ("float8e5m2fnuz", 8), 21: ("uint4", 4), 22: ("int4", 4),
    23: ("float4e2m1", 4), 24: ("float8e8m0", 8),
}  # fmt: skip
"""TensorProto.DataType -> name and bits of an element."""
_WEIGHT_INPUT = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1, "ConvInteger": 1, "MatMulInteger": 1,
                 "QLinearConv": 3, "QLinearMatMul": 3}  # fmt: skip
_FOLLOWED = ("DequantizeLinear", "Identity", "Transpose", "Reshape", "Unsqueeze", "Squeeze")
_MAX_DEPTH = 8


@dataclass
class OnnxGraph:
    """What an ONNX file holds.

    Attributes:
        ir_version: of the format.
        producer: name and version of what wrote it.
        opset: version, by domain; the standard one is `ai.onnx`.
        inputs: of the graph, without weights that old files list among them.
        outputs: of the graph.
        operators: how often each occurs; those of another domain with it, as `com.microsoft.Gelu`.
        weights: of each element type, the number of tensors and of values.
        weight_bytes: of the weights in this file.
        kernels: convolutions and matrix products, by the type of their weights; `int8 weights only` where the other input
            is not quantized, `computed` where the weights are none that the file holds.
        external_files: names of files outside it that hold values: weights, attributes, sparse ones too.
        domains: operators of another domain than the standard one, by domain; those that the file itself defines as
            functions are left out.
    """

    ir_version: int = 0
    producer: str = ""
    opset: dict[str, int] = field(default_factory=dict)
    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)
    operators: Counter[str] = field(default_factory=Counter)
    weights: dict[str, dict[str, int]] = field(default_factory=dict)
    weight_bytes: int = 0
    kernels: Counter[str] = field(default_factory=Counter)
    external_files: list[str] = field(default_factory=list)
    domains: dict[str, set[str]] = field(default_factory=dict)

    def details(self) -> dict[str, Any]:
        """As JSON values, without the ports."""
        return {
            "ir_version": self.ir_version,
            "opset": self.opset,
            "nodes": self.operators.total(),
            "operators": dict(self.operators.most_common()),
            "kernels": dict(self.kernels.most_common()),
            "weights": self.weights,
            "weight_bytes": self.weight_bytes,
            "external_files": sorted(set(self.external_files)),
            "domains": {domain: sorted(names) for domain, names in sorted(self.domains.items())},
        }


def read_onnx_graph(path: Path, data: bytes | None = None) -> OnnxGraph:
    """Reads what an ONNX file holds.

    Args:
        path: of the file.
        data: its bytes, where they were read already; then the file is not opened.

    Raises:
        EngineError: when it is not an ONNX file, is cut short, or is beyond what is read without trust.
    """
    try:
        with open(path, "rb", buffering=0) if data is None else BytesIO(data) as file:
            walk = _Walk(Wire(file, path.stat().st_size if data is None else len(data)))
            walk.model()
    except (WireError, OSError) as error:
        raise EngineError(f"{path} is not an ONNX file, or is damaged: {error}; export the model again") from error
    if not walk.has_graph:
        raise EngineError(f"{path} is not an ONNX file: it holds no graph; export the model again")
    return walk.found


class _Walk:
    def __init__(self, wire: Wire) -> None:
        self.found, self.has_graph = OnnxGraph(), False
        self._wire = wire
        self._types: dict[str, str] = {}  # of the weights, by name
        self._made_by: dict[str, tuple[str, str]] = {}  # output -> operator and first input, of those followed
        self._products: list[tuple[str, str]] = []  # data and weight input of convolutions and matrix products
        self._functions: set[tuple[str, str]] = set()  # domain and name, of those that the file defines

    def model(self) -> None:
        producer = {2: "", 3: ""}
        for item in self._wire.fields(0, self._wire.size):
            if item.number == 1 and item.wire == VARINT:
                self.found.ir_version = item.value
            elif item.number in producer and item.wire == BYTES:
                producer[item.number] = self._wire.text(item)
            elif item.number == 8 and item.wire == BYTES:
                self._opset(item)
            elif item.number == 7 and item.wire == BYTES:
                self.has_graph = True
                self._graph(item, 0)
            elif item.number == 20 and item.wire == BYTES:
                self._training(item)
            elif item.number == 25 and item.wire == BYTES:
                self._function(item)
        self.found.producer = " ".join(filter(None, producer.values()))
        self.found.inputs = [port for port in self.found.inputs if port.name not in self._types]
        for domain, name in self._functions:
            self.found.domains.get(domain, set()).discard(name)
        self.found.domains = {domain: names for domain, names in self.found.domains.items() if names}
        for data, weight in self._products:
            self.found.kernels[self._kernel(data, weight)] += 1

    def _opset(self, message: Field) -> None:
        domain, version = "", 0
        for item in self._wire.fields(message.start, message.end):
            if item.number == 1:
                domain = self._wire.text(item)
            elif item.number == 2:
                version = item.value
        self.found.opset[domain or "ai.onnx"] = version

    def _graph(self, message: Field, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise WireError(f"graphs inside of graphs, more than {_MAX_DEPTH} deep")
        for item in self._wire.fields(message.start, message.end):
            if item.wire != BYTES:
                continue
            if item.number == 1:
                self._node(item, depth)
            elif item.number == 5:
                self._weight(item)
            elif item.number == 15:
                self._sparse(item)
            elif item.number in (11, 12) and depth == 0:
                (self.found.inputs if item.number == 11 else self.found.outputs).append(self._port(item))

    def _node(self, message: Field, depth: int) -> None:
        inputs: list[str] = []
        output = operator = domain = ""
        for item in self._wire.fields(message.start, message.end):
            if item.number == 1:
                inputs.append(self._wire.text(item))
            elif item.number == 2:
                output = output or self._wire.text(item)
            elif item.number == 4:
                operator = self._wire.text(item)
            elif item.number == 7:
                domain = self._wire.text(item)
            elif item.number == 5 and item.wire == BYTES:
                self._attribute(item, depth)
        if domain not in ("", "ai.onnx"):
            self.found.domains.setdefault(domain, set()).add(operator)
        self.found.operators[operator if domain in ("", "ai.onnx") else f"{domain}.{operator}"] += 1
        weight = _WEIGHT_INPUT.get(operator)
        if weight is not None and len(inputs) > weight:
            self._products.append((inputs[0], inputs[weight]))
        elif operator in _FOLLOWED and inputs:
            self._made_by[output] = operator, inputs[0]

    def _attribute(self, message: Field, depth: int) -> None:
        for part in self._wire.fields(message.start, message.end):
            if part.wire != BYTES:
                continue
            if part.number in (6, 11):
                self._graph(part, depth + 1)
            elif part.number in (5, 10):
                self._outside(part)
            elif part.number in (22, 23):
                self._sparse(part)

    def _sparse(self, message: Field) -> None:
        """A SparseTensorProto: values and indices, each a tensor."""
        for part in self._wire.fields(message.start, message.end):
            if part.number in (1, 2) and part.wire == BYTES:
                self._outside(part)

    def _outside(self, message: Field) -> None:
        """Of a tensor that is no weight: only where its values are."""
        for item in self._wire.fields(message.start, message.end):
            if item.number == 13 and item.wire == BYTES:
                self._external(item)

    def _function(self, message: Field) -> None:
        name = domain = ""
        for item in self._wire.fields(message.start, message.end):
            if item.number == 1:
                name = self._wire.text(item)
            elif item.number == 10:
                domain = self._wire.text(item)
            elif item.number == 7 and item.wire == BYTES:
                self._node(item, 0)
            elif item.number == 11 and item.wire == BYTES:
                self._attribute(item, 0)
        self._functions.add((domain, name))

    def _training(self, message: Field) -> None:
        for part in self._wire.fields(message.start, message.end):
            if part.number in (1, 2) and part.wire == BYTES:
                self._graph(part, 1)

    def _weight(self, message: Field) -> None:
        sizes: list[int] = []
        code, name, raw = 0, "", None
        for item in self._wire.fields(message.start, message.end):
            if item.number == 1:
                sizes += self._wire.integers(item)
            elif item.number == 2:
                code = item.value
            elif item.number == 8:
                name = self._wire.text(item)
            elif item.number == 9 and item.wire == BYTES:
                raw = item.size
            elif item.number == 13 and item.wire == BYTES:
                self._external(item)
            if len(sizes) > 64:
                raise WireError(f"weight {name!r} has more than 64 axes")
        if any(size < 0 for size in sizes):
            raise WireError(f"weight {name!r} has the shape {sizes}")
        dtype, bits = TYPES.get(code, (f"type {code}", 0))
        values = math.prod(sizes)
        if raw is not None and bits and raw != (expected := (values * bits + 7) // 8):
            raise WireError(f"weight {name!r} holds {raw} bytes, expected {expected}")
        self._types[name] = dtype
        entry = self.found.weights.setdefault(dtype, {"tensors": 0, "values": 0})
        entry["tensors"] += 1
        entry["values"] += values
        self.found.weight_bytes += message.size if raw is None else raw

    def _external(self, message: Field) -> None:
        pair = {item.number: self._wire.text(item) for item in self._wire.fields(message.start, message.end)}
        if pair.get(1) == "location":
            self.found.external_files.append(pair.get(2, ""))

    def _port(self, message: Field) -> Port:
        name, dtype, shape = "", "unknown", list[int | str]()
        for item in self._wire.fields(message.start, message.end):
            if item.number == 1:
                name = self._wire.text(item)
            elif item.number == 2 and item.wire == BYTES:
                for kind in self._wire.fields(item.start, item.end):
                    if kind.number == 1 and kind.wire == BYTES:
                        dtype, shape = self._tensor_type(kind)
        return Port(name, dtype, tuple(shape))

    def _tensor_type(self, message: Field) -> tuple[str, list[int | str]]:
        dtype, shape = "unknown", list[int | str]()
        for item in self._wire.fields(message.start, message.end):
            if item.number == 1:
                dtype = TYPES.get(item.value, (f"type {item.value}", 0))[0]
            elif item.number == 2 and item.wire == BYTES:
                shape += [self._size(side) for side in self._wire.fields(item.start, item.end) if side.wire == BYTES]
        return dtype, shape

    def _size(self, message: Field) -> int | str:
        size: int | str = "?"
        for item in self._wire.fields(message.start, message.end):
            if item.number == 1:
                size = item.value
            elif item.number == 2:
                size = self._wire.text(item) or "?"
        return size

    def _kernel(self, data: str, weight: str) -> str:
        dtype, quantized = self._source(weight)
        if not quantized or dtype == "computed":
            return dtype
        return dtype if self._made_by.get(data, ("", ""))[0] == "DequantizeLinear" else f"{dtype} weights only"

    def _source(self, name: str) -> tuple[str, bool]:
        """The type of the weights that `name` stands for, and whether they come out of a DequantizeLinear."""
        quantized = False
        for _ in range(_MAX_DEPTH):
            if name in self._types:
                return self._types[name], quantized
            operator, name = self._made_by.get(name, ("", ""))
            quantized = quantized or operator == "DequantizeLinear"
        return "computed", quantized
