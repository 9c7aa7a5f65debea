"""An int8 graph for ONNX Runtime -> the same graph for TensorRT: what is not int8 in float16, and pairs where TensorRT's fusions want them.

A convolution in int8 still hands its result on in the type of its pair's output, so in a graph whose rest is float32 every
feature map is written and read at four bytes a value. TensorRT fuses what lies between a convolution and the next pair, so the pairs
that ONNX Runtime needs directly behind a convolution, and one for each reader, are taken away again: NVIDIA's ModelOpt sets them likewise.
What comes in, normalisation, averages over images, softmax and what goes out stay in float32.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from dlcv.export.precision.layer_names import layer_name, makers_of
from dlcv.export.precision.layers import layers_of
from dlcv.export.precision.pairs import LAYERS
from dlcv.export.precision.proof import Proof
from dlcv.export.precision.proof_onnxruntime import optimised_graph
from dlcv.runtime.errors import ExportError, VerdictError
from dlcv.runtime.sessions.executed import Executed
from dlcv.runtime.sessions.onnxrt_graph import operators_run, read_graph

OPSET = 19
"""The first whose QuantizeLinear and DequantizeLinear know float16; read by TensorRT 10 and ONNX Runtime 1.15."""
MIN_REST = 0.95
"""Share of the values outside int8 that must be in float16."""
LEAST_SCALE = 2.0**-20
"""Of a pair: float16 has 4 bits left there; a weight that is smaller than all of its levels is 0."""
FP16_OPERATORS = {
    "Conv", "ConvTranspose", "Gemm", "MatMul", "Relu", "Clip", "Add", "Mul", "MaxPool", "AveragePool", "Concat", "Slice",
    "Pad", "Resize", "Reshape", "Flatten", "Transpose", "Identity",
}  # fmt: skip
"""What is safe in float16 where its input is: sums over a window at most, not over whole images; no division, no exponential."""
_BIASED = ("Conv", "ConvTranspose", "Gemm")
_DATA = {"Resize": 1, "Reshape": 1, "Slice": 1}
"""How many of an operator's inputs are data, where the others keep their type."""


@dataclass(frozen=True)
class Rest:
    """What the values outside int8 are in.

    Attributes:
        values: for one image, by type, such as `{"fp16": 11_000_000}`: what operators between the first and the last layer give.
    """

    values: dict[str, int]

    @property
    def share(self) -> float:
        """Of the values that are in float16, 0..1; 0 where there are none."""
        total = sum(self.values.values())
        return self.values.get("fp16", 0) / total if total else 0.0

    def require(self) -> None:
        """Raises VerdictError when too few are in float16."""
        if not self.share >= MIN_REST:
            raise VerdictError(
                f"the rest of the graph is not in fp16, no file was written: {self.share:.1%} of the values outside int8, expected at least {MIN_REST:.1%}"
            )

    def sentence(self) -> str:
        """In a line, for the card."""
        return f"{self.share:.1%} of the values outside int8 in fp16, verified in float32 with every result rounded"


def int8_with_fp16(proto: onnx.ModelProto, restored: Collection[str] = ()) -> onnx.ModelProto:
    """Makes the graph.

    Args:
        proto: of `calibration.int8_from_onnx`, topologically sorted; left as it is.
        restored: names of layers that stay in float32, and what they give up to the next pair, so that a value beyond float16 is kept.

    Returns:
        A new graph with the same input and output, opset 19.

    Raises:
        ExportError: when onnx refuses what came of it.
    """
    copied = onnx.ModelProto()
    copied.CopyFrom(proto)
    for entry in copied.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = max(entry.version, OPSET)
    makers = makers_of(copied.graph)
    kept = {node.name for node in copied.graph.node if node.op_type in LAYERS and layer_name(node, makers) in restored}
    _pairs_for_tensorrt(copied.graph)
    _biases_as_sums(copied.graph)
    _Halving(copied.graph, kept).run()
    del copied.graph.value_info[:]
    try:
        onnx.checker.check_model(copied, full_check=True)
    except Exception as error:  # onnx's checks and its inference have no error in common
        raise ExportError(
            f"the graph cannot be arranged with float16: {str(error).strip().splitlines()[0][:300]}"
        ) from error
    return onnx.shape_inference.infer_shapes(copied)  # a session weighs what it runs in which type by these shapes


def for_tensorrt(proto: onnx.ModelProto, proof: Proof) -> tuple[onnx.ModelProto, Proof, str]:
    """The graph with its rest in float16, its proof, and what is proven, in a line.

    Args:
        proto: as `int8_with_fp16` takes it.
        proof: of that graph. What ONNX Runtime makes of it holds no longer, so the new proof is of the graph alone.

    Raises:
        ExportError: as `int8_with_fp16`.
        VerdictError: when too little is in int8, or too little of the rest in float16.
    """
    combined = int8_with_fp16(proto, proof.restored)
    combined_proof = replace(proof, layers=layers_of(combined), session=None)
    combined_proof.require()
    rest = rest_of(combined)
    if not proof.restored:  # what these hand on is in float32 by intent, and the sentence tells the share
        rest.require()
    return (
        combined,
        combined_proof,
        f"{combined_proof.graph_sentence()}; {rest.sentence()}; {_run_by_onnxruntime(combined)}",
    )


def _run_by_onnxruntime(proto: onnx.ModelProto) -> str:
    """What ONNX Runtime computes the graph in on a CPU, in words: its int8 kernels take no scales in float16."""
    by, optimised = f"ONNX Runtime {ort.__version__} on a CPU", optimised_graph(proto)
    if optimised is None:
        return f"{by} does not run it"
    found = operators_run(read_graph(proto.SerializeToString()), optimised)
    return f"what {by} runs is not known" if found is None else Executed(by, found).sentence()


def rest_of(proto: onnx.ModelProto) -> Rest:
    """Counts the values that operators behind the first QuantizeLinear and before the head give in floating point, for one image."""
    single = onnx.ModelProto()
    single.CopyFrom(proto)
    for value in (*single.graph.input, *single.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(single, data_prop=True).graph
    types = {value.name: value.type.tensor_type for value in (*graph.value_info, *graph.output)}
    kinds = {TensorProto.FLOAT: "fp32", TensorProto.FLOAT16: "fp16"}
    values: dict[str, int] = {}
    for name in _between(graph):
        kind = kinds.get(types[name].elem_type)
        if kind:
            sides = [d.dim_value for d in types[name].shape.dim]
            values[kind] = values.get(kind, 0) + int(np.prod(sides))
    return Rest(values)


def _between(graph: onnx.GraphProto) -> list[str]:
    """What layers, and operators between them, give: not pairs and casts, which an engine joins to their neighbours."""
    behind: set[str] = set()
    for node in graph.node:
        if node.op_type == "QuantizeLinear" or behind & set(node.input):
            behind.update(node.output)
    leads: set[str] = set()
    for node in reversed(graph.node):
        if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul") or leads & set(node.output):
            leads.update((*node.input, *node.output))
    joined = ("QuantizeLinear", "DequantizeLinear", "Cast")
    return [name for node in graph.node if node.op_type not in joined for name in node.output if name in behind & leads]


def _pairs_for_tensorrt(graph: onnx.GraphProto) -> None:
    """Takes away the pair between a convolution and the Relu or sum that TensorRT computes with it.

    Before a Relu the pair has the scale of the one behind it, so nothing changes but time. Of a sum's two sides one keeps its pair:
    TensorRT reads that one in int8 while it computes the other.
    """
    makers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    done: set[str] = set()
    for first in [node for node in graph.node if node.op_type == "QuantizeLinear"]:
        maker = makers.get(first.input[0])
        if maker is None or maker.op_type != "Conv" or len(readers[first.input[0]]) != 1:
            continue
        second = readers[first.output[0]][0]
        users = readers[second.output[0]]
        if len(users) != 1 or users[0].op_type not in ("Relu", "Add") or users[0].output[0] in done:
            continue
        done.add(users[0].output[0])
        users[0].input[:] = [first.input[0] if name == second.output[0] else name for name in users[0].input]
        graph.node.remove(first)
        graph.node.remove(second)


def _biases_as_sums(graph: onnx.GraphProto) -> None:
    """Adds each bias behind its layer.

    ONNX Runtime (1.31, `WeightBiasQuantization`) makes a layer's own bias int32 with the product of two scales, which in float16 is
    rounded to almost nothing: answers of a trained ResNet moved by 0.03 on average, where int8 moves them by 0.001.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type in _BIASED and len(node.input) > 2]:
        if any(a.name in ("alpha", "beta") and a.f != 1 for a in node.attribute) or node.input[2] not in constants:
            continue
        bias = numpy_helper.to_array(constants[node.input[2]])
        out, plain, name = node.output[0], f"{node.output[0]}_unbiased", f"{node.input[2]}_summand"
        if name not in constants:
            shape = bias.shape if node.op_type == "Gemm" else (1, -1, 1, 1)
            constants[name] = numpy_helper.from_array(bias.reshape(shape), name)
            graph.initializer.append(constants[name])
        del node.input[2:]
        node.output[0] = plain
        summed = helper.make_node("Add", [plain, name], [out], name=f"{node.name}_bias")
        graph.node.insert(list(graph.node).index(node) + 1, summed)


class _Halving:
    """Float16 for everything that follows a DequantizeLinear and is safe there (see `FP16_OPERATORS`), but for the nodes named in `kept`."""

    def __init__(self, graph: onnx.GraphProto, kept: Collection[str] = ()) -> None:
        self._graph, self._kept = graph, kept
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._outputs = {value.name for value in graph.output}
        self._low: set[str] = set()
        self._same: dict[str, str] = {}
        self._made: dict[tuple[str, ...], str] = {}
        self._nodes: list[onnx.NodeProto] = []

    def run(self) -> None:
        """Rewrites the graph's nodes in their order."""
        for node in list(self._graph.node):
            node.input[:] = [self._same.get(name, name) for name in node.input]
            if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
                self._pair(node)
            elif self._can_be_low(node):
                self._lower(node)
            else:
                node.input[:] = [self._raised(name) for name in node.input]
                self._nodes.append(node)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        read = {name for node in self._nodes for name in node.input}
        for tensor in [tensor for tensor in self._graph.initializer if tensor.name not in read]:
            self._graph.initializer.remove(tensor)

    def _pair(self, node: onnx.NodeProto) -> None:
        """Gives a node of a pair the scale that float16 can hold; one whose like exists already is left out."""
        scale = numpy_helper.to_array(self._constants[node.input[1]])
        rounded = np.maximum(scale, LEAST_SCALE).astype(np.float16)
        if node.op_type == "DequantizeLinear" and node.input[0] in self._constants:
            node.input[0] = self._requantised(node.input[0], scale, rounded, node)
        opens = node.op_type == "DequantizeLinear" and node.output[0] not in self._outputs
        low = opens or node.input[0] in self._low
        node.input[1] = self._constant(node.input[1], rounded if low else rounded.astype(np.float32))
        like = (node.op_type, node.input[0], str(low), rounded.tobytes().hex())
        if like in self._made and node.output[0] not in self._outputs:
            self._same[node.output[0]] = self._made[like]
            return
        self._made[like] = node.output[0]
        self._nodes.append(node)
        if opens:
            self._low.add(node.output[0])

    def _can_be_low(self, node: onnx.NodeProto) -> bool:
        data = [name for name in node.input[: _DATA.get(node.op_type)] if name]
        known = [name in self._low or self._fits(name) for name in data]
        low = node.op_type in FP16_OPERATORS and node.name not in self._kept
        return low and all(known) and any(name in self._low for name in data)

    def _fits(self, name: str) -> bool:
        """Whether a constant's values are within float16's range."""
        tensor = self._constants.get(name)
        if tensor is None or tensor.data_type != TensorProto.FLOAT:
            return False
        return bool(np.all(np.abs(numpy_helper.to_array(tensor)) <= np.finfo(np.float16).max))

    def _lower(self, node: onnx.NodeProto) -> None:
        for place, name in enumerate(node.input[: _DATA.get(node.op_type)]):
            if name and name not in self._low:
                node.input[place] = self._constant(
                    name, numpy_helper.to_array(self._constants[name]).astype(np.float16)
                )
        for place, name in enumerate(node.output):
            if name in self._outputs:
                node.output[place] = f"{name}_fp16"
        self._nodes.append(node)
        self._low.update(node.output)
        for name in node.output:
            if name.removesuffix("_fp16") in self._outputs:
                self._cast(name, name.removesuffix("_fp16"))

    def _raised(self, name: str) -> str:
        """The float32 form of a value."""
        if name not in self._low:
            return name
        if (name, "fp32") not in self._made:
            self._made[name, "fp32"] = self._cast(name, f"{name}_fp32")
        return self._made[name, "fp32"]

    def _cast(self, name: str, to: str) -> str:
        self._nodes.append(helper.make_node("Cast", [name], [to], name=f"{to}_cast", to=TensorProto.FLOAT))
        return to

    def _constant(self, name: str, values: NDArray[np.generic]) -> str:
        """The name of a constant with these values in place of `name`'s, which others may read."""
        suffix = {2: "fp16", 4: "rounded", 1: "requantised"}[values.dtype.itemsize]
        new = f"{name}_{suffix}"
        if new not in self._constants:
            self._constants[new] = numpy_helper.from_array(values, new)
            self._graph.initializer.append(self._constants[new])
        return new

    def _requantised(
        self, name: str, scale: NDArray[np.float32], rounded: NDArray[np.float16], node: onnx.NodeProto
    ) -> str:
        """A quantised constant on the grid of the scale that float16 can hold."""
        levels = numpy_helper.to_array(self._constants[name])
        factor = scale.astype(np.float64) / rounded.astype(np.float64)
        if factor.ndim:
            axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
            factor = factor.reshape([-1 if k == axis % levels.ndim else 1 for k in range(levels.ndim)])
        return self._constant(name, np.clip(np.rint(levels * factor), -127, 127).astype(np.int8))
