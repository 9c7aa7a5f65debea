"""Proof of precision: how many multiply-adds a graph does in which type, and which operators a session made of them.

A file's name and a builder's flags prove nothing. The graph proves what was asked for, since engines that take it strongly typed
compute in its types; ONNX Runtime's optimised graph, read back, proves what ran there.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
from onnx import TensorProto

from dlcv.export.precision.layer_names import layer_name, makers_of
from dlcv.export.shares import MIN_SHARE
from dlcv.runtime.card import card_from_json
from dlcv.runtime.card_reader import ONNX_KEY
from dlcv.runtime.errors import ExportError, VerdictError, one_line

MIN_SESSION_SHARE = 0.5
"""Of an int8 graph's convolutions, in ONNX Runtime: versions differ in what they fuse, but most must be fused."""
OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
KINDS: dict[int, str] = {
    TensorProto.FLOAT: "fp32", TensorProto.FLOAT16: "fp16", TensorProto.BFLOAT16: "bf16", TensorProto.DOUBLE: "fp64",
    TensorProto.INT8: "int8", TensorProto.UINT8: "uint8",
}  # fmt: skip
INT8_OPERATORS = ("QLinearConv", "QLinearMatMul", "QGemm", "ConvInteger", "MatMulInteger", "MatMulIntegerToFloat")
FLOAT_OPERATORS = (*OPERATORS, "FusedConv", "NhwcFusedConv", "FusedGemm", "FusedMatMul")
_NAMED = 5
"""How many layers a message names."""


@dataclass(frozen=True)
class Layer:
    """A layer with multiply-adds.

    Attributes:
        name: the model's own, such as `features.0`, else of its node.
        operator: one of `OPERATORS`.
        kind: the type of its input and weight: `fp32`, `fp16`, `bf16`, `int8`, or both where they differ, such as `fp32 x int8`.
        multiply_adds: for one image.
    """

    name: str
    operator: str
    kind: str
    multiply_adds: int


@dataclass(frozen=True)
class Proof:
    """What a graph's layers, and a session's, compute in.

    Attributes:
        precision: what was asked for.
        layers: of the graph.
        session: operators of ONNX Runtime's optimised graph with their type, such as `QLinearConv int8`, and how many; None
            where ONNX Runtime does not take the graph.
        min_share: what must be in `precision`, 0..1.
        restored: layers that are in float32 because they lost too much.
    """

    precision: str
    layers: tuple[Layer, ...]
    session: Mapping[str, int] | None
    min_share: float
    restored: tuple[str, ...] = ()

    @property
    def multiply_adds(self) -> dict[str, int]:
        """By type, the most first; for one image."""
        total: Counter[str] = Counter()
        for layer in self.layers:
            total[layer.kind] += layer.multiply_adds
        return dict(total.most_common())

    @property
    def share(self) -> float:
        """Of the multiply-adds that are in the precision asked for, 0..1; 0 where there are none."""
        total = sum(self.multiply_adds.values())
        return self.multiply_adds.get(self.precision, 0) / total if total else 0.0

    def problems(self) -> list[str]:
        """What speaks against the claim, in words; empty when it holds."""
        found = []
        if not self.share >= self.min_share:
            found.append(
                f"{self.share:.1%} of the graph's multiply-adds are in {self.precision}, expected at least {self.min_share:.1%}; not so: {self._others()}"
            )
        done, of = self._session_convolutions("int8")
        if self.precision == "int8" and self.session is not None and not done >= MIN_SESSION_SHARE * of:
            found.append(f"ONNX Runtime {ort.__version__} runs {done} of {of} convolutions in int8")
        return found

    def require(self) -> None:
        """Raises VerdictError, with all problems, when there are any."""
        if found := self.problems():
            raise VerdictError(f"the graph is not in {self.precision}, no file was written: {'; '.join(found)}")

    def sentence(self) -> str:
        """What is proven, in a line: it stands on the model card."""
        text = f"{self.share:.1%} of the graph's multiply-adds in {self.precision}"
        if self.restored:
            more = f" and {len(self.restored) - _NAMED} more" if len(self.restored) > _NAMED else ""
            text += f"; restored to fp32: {', '.join(self.restored[:_NAMED])}{more}"
        if self.precision == "int8" and self.session is not None:
            done, of = self._session_convolutions("int8")
            return f"{text}; ONNX Runtime {ort.__version__} runs {done} of {of} convolutions in int8"
        if self.precision in ("fp16", "bf16"):
            text += f"; verified in float32 with every result rounded to {self.precision}"
            done, of = self._session_convolutions("fp32")
            if self.session is None:
                return f"{text}; ONNX Runtime {ort.__version__} on a CPU does not run it"
            if done:
                text += f"; ONNX Runtime {ort.__version__} on a CPU computes {done} of {of} convolutions in fp32"
        return text

    def to_dict(self) -> dict[str, Any]:
        """As JSON values: multiply-adds for one image by type and by operator, the session's operators, the sentence."""
        by_operator: Counter[str] = Counter()
        for layer in self.layers:
            by_operator[f"{layer.operator} {layer.kind}"] += layer.multiply_adds
        return {
            "precision": self.precision,
            "share": self.share,
            "min_share": self.min_share,
            "multiply_adds": self.multiply_adds,
            "multiply_adds_by_operator": dict(by_operator.most_common()),
            "onnxruntime_operators": None if self.session is None else dict(self.session),
            "restored": list(self.restored),
            "sentence": self.sentence(),
        }

    def _others(self) -> str:
        total = sum(layer.multiply_adds for layer in self.layers) or 1
        others = [layer for layer in self.layers if layer.kind != self.precision]
        others.sort(key=lambda layer: -layer.multiply_adds)
        named = [f"{x.name} ({x.operator}, {x.kind}, {x.multiply_adds / total:.1%})" for x in others[:_NAMED]]
        return ", ".join(named) + (f" and {len(others) - _NAMED} more" if len(others) > _NAMED else "")

    def _session_convolutions(self, kind: str) -> tuple[int, int]:
        """How many of the session's convolutions are of a type, and how many there are."""
        found = {key: n for key, n in (self.session or {}).items() if "Conv" in key and "Transpose" not in key}
        return sum(n for key, n in found.items() if key.endswith(f" {kind}")), sum(found.values())


def prove(proto: onnx.ModelProto, precision: str, min_share: float | None = None) -> Proof:
    """Counts a graph's multiply-adds by type, and looks at what ONNX Runtime makes of it.

    Args:
        proto: the graph; left as it is.
        precision: what it is said to be in.
        min_share: 0..1; None takes the one of `MIN_SHARE`.

    Raises:
        ExportError: when a layer's work cannot be counted.
    """
    least = MIN_SHARE[precision] if min_share is None else min_share
    return Proof(precision, layers_of(proto), session_operators(proto), least)


def layers_of(proto: onnx.ModelProto) -> tuple[Layer, ...]:
    """The layers with multiply-adds, in the graph's order.

    A layer is in int8 when both its input and its weight come from a DequantizeLinear of int8: that is what an engine takes for an
    int8 layer. Otherwise it is in the types of the two.

    Raises:
        ExportError: when a layer's shapes are not known.
    """
    graph = _single(proto).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
    kinds = {v.name: v.type.tensor_type.elem_type for v in values}
    for tensor in graph.initializer:
        shapes[tensor.name], kinds[tensor.name] = list(tensor.dims), tensor.data_type
    makers = makers_of(graph)
    found = []
    for node in graph.node:
        if node.op_type in OPERATORS:
            sides = [_kind(name, kinds, makers) for name in node.input[:2]]
            kind = sides[0] if sides[0] == sides[1] else " x ".join(sides)
            found.append(Layer(layer_name(node, makers), node.op_type, kind, _multiply_adds(node, shapes)))
    return tuple(found)


def session_operators(proto: onnx.ModelProto) -> dict[str, int] | None:
    """The operators with multiply-adds of the graph that ONNX Runtime made of this one on a CPU, with their types.

    Returns:
        How many there are of each, such as `{"QLinearConv int8": 20, "Gemm fp32": 1}`; None where it does not take the graph.
    """
    with tempfile.TemporaryDirectory(prefix="dlcv-proof.") as folder:
        path = Path(folder) / "optimised.onnx"
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.optimized_model_filepath = str(path)
        try:
            ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions share no base of their own
            if "NOT_IMPLEMENTED" in str(error) or "INVALID_GRAPH" in str(error):
                return None
            raise ExportError(f"ONNX Runtime {ort.__version__} refuses the graph: {one_line(error)[:400]}") from error
        optimised = onnx.load(path)
    weights = {tensor.name: tensor.data_type for tensor in optimised.graph.initializer}
    found: Counter[str] = Counter()
    for node in optimised.graph.node:
        if node.op_type in INT8_OPERATORS:
            found[f"{node.op_type} int8"] += 1
        elif node.op_type in FLOAT_OPERATORS:
            kind = weights.get(node.input[1], TensorProto.FLOAT)
            found[f"{node.op_type} {KINDS.get(kind, str(kind))}"] += 1
    return dict(found)


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
