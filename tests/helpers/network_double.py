"""Layers of a network as the parser of TensorRT 8.6 makes them of a graph (onnx-tensorrt, branch 8.6-GA), for the builder's double.

What it knows of types is the least that 8.6 might: only constants tell theirs, all else in floating point is FLOAT. From 10 on a
network is strongly typed: its tensors have the types and shapes of the graph's values, and kernels tell their sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import onnx

DataType = Enum("DataType", "FLOAT HALF INT8 INT32 BOOL UINT8 FP8")  # of 8.6.0
LayerType = Enum(
    "LayerType",
    "CONVOLUTION FULLY_CONNECTED GRID_SAMPLE NMS ACTIVATION POOLING LRN SCALE SOFTMAX DECONVOLUTION CONCATENATION ELEMENTWISE PLUGIN "
    "UNARY PADDING SHUFFLE REDUCE TOPK GATHER MATRIX_MULTIPLY RAGGED_SOFTMAX CONSTANT RNN_V2 IDENTITY CAST PLUGIN_V2 SLICE SHAPE "
    "PARAMETRIC_RELU RESIZE TRIP_LIMIT RECURRENCE ITERATOR LOOP_OUTPUT SELECT ASSERTION FILL QUANTIZE DEQUANTIZE CONDITION "
    "CONDITIONAL_INPUT CONDITIONAL_OUTPUT SCATTER EINSUM ONE_HOT NON_ZERO REVERSE_SEQUENCE NORMALIZATION",
)  # of 8.6.0
KERNELS = (LayerType.CONVOLUTION, LayerType.DECONVOLUTION, LayerType.MATRIX_MULTIPLY)
_KINDS = {
    "Conv": "CONVOLUTION", "ConvTranspose": "DECONVOLUTION", "Relu": "ACTIVATION", "MaxPool": "POOLING", "Add": "ELEMENTWISE",
    "Sub": "ELEMENTWISE", "Div": "ELEMENTWISE", "Mul": "ELEMENTWISE", "Greater": "ELEMENTWISE", "Cast": "CAST", "Transpose": "SHUFFLE",
    "Reshape": "SHUFFLE", "Concat": "CONCATENATION", "Resize": "RESIZE", "ReduceMean": "REDUCE", "Softmax": "SOFTMAX", "Shape": "SHAPE",
    "Where": "SELECT", "QuantizeLinear": "QUANTIZE", "DequantizeLinear": "DEQUANTIZE",
}  # fmt: skip
_HELD_INSIDE = {"Conv": 1, "ConvTranspose": 1}
"""From which input on weights are part of the layer, not tensors."""
_OF_ONNX = {1: "FLOAT", 2: "UINT8", 3: "INT8", 6: "INT32", 7: "INT32", 9: "BOOL", 10: "HALF"}

Note = Callable[..., None]


class Tensor:
    shape: tuple[int, ...] = ()

    def __init__(self, name: str, dtype: Any, is_shape_tensor: bool = False) -> None:
        self.name, self.dtype, self.is_shape_tensor = name, dtype, is_shape_tensor


class ILayer:
    """Records what it is held to; refuses what TensorRT refuses."""

    def __init__(
        self, note: Note, name: str, kind: Any, inputs: list[Any], outputs: list[Tensor], weights: int = 0
    ) -> None:
        self._note, self.name, self.type, self.weights = note, name, kind, weights
        self._outputs, self.num_outputs, self.held = outputs, len(outputs), None
        self.read(*inputs)

    def read(self, *inputs: Any) -> None:
        self._inputs, self.num_inputs = inputs, len(inputs)

    @property
    def precision(self) -> Any:
        return self.held or DataType.FLOAT

    @precision.setter
    def precision(self, dtype: Any) -> None:
        assert self.type not in (LayerType.SHAPE, LayerType.CONSTANT, LayerType.QUANTIZE, LayerType.DEQUANTIZE)
        self.held = dtype
        self._note("precision", self.name, dtype.name)

    def set_output_type(self, index: int, dtype: Any) -> None:
        tensor = self._outputs[index]
        assert tensor.dtype in (DataType.FLOAT, DataType.HALF), (
            "INT32 and BOOL, as the second result of TopK, are fixed"
        )
        assert not tensor.is_shape_tensor
        self._note("set_output_type", self.name, index, dtype.name)

    def get_input(self, index: int) -> Any:
        return self._inputs[index]

    def get_output(self, index: int) -> Tensor:
        return self._outputs[index]


def layers_of(path: str, note: Note) -> list[ILayer]:
    """The layers of a graph, in the graph's order."""
    return _Parser(onnx.load(Path(path)).graph, note).layers


def typed_layers_of(path: str, note: Note) -> list[ILayer]:
    """The same of a strongly typed network."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(Path(path))).graph
    parser = _Parser(graph, note)
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.name in parser.tensors:
            told, tensor = value.type.tensor_type, parser.tensors[value.name]
            tensor.dtype = DataType[_OF_ONNX[told.elem_type]]
            tensor.shape = tuple(side.dim_value or -1 for side in told.shape.dim)
    for node in graph.node:
        for layer in parser.layers:
            if layer.name == node.name and node.op_type in _HELD_INSIDE:
                sizes = onnx.numpy_helper.to_array(parser.weights_of(node)).shape
                layer.kernel_size_nd, layer.num_groups = sizes[2:], 1  # type: ignore[attr-defined]
    return parser.layers


class _Parser:
    def __init__(self, graph: Any, note: Note) -> None:
        self.layers: list[ILayer] = []
        self._note = note
        self._dequantised = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self.tensors = {
            port.name: Tensor(port.name, self._dtype(port.type.tensor_type.elem_type)) for port in graph.input
        }
        for node in graph.node:
            special = getattr(self, f"of_{node.op_type.lower()}", None)
            given = [self._given(node, place) for place in range(len(node.input))]
            if special is not None:
                special(node, given)
            else:
                self._plain(node, given)

    @staticmethod
    def _dtype(code: int) -> Any:
        return DataType[_OF_ONNX[code]]

    def _given(self, node: Any, place: int) -> Any:
        """A tensor; a constant layer's for weights; None for what is part of the layer, or left out."""
        name = node.input[place]
        if name in self.tensors or not name:
            return self.tensors.get(name)
        if place >= _HELD_INSIDE.get(node.op_type, 99):
            return None
        tensor = self._unnamed("Constant", self._dtype(self._weights[name].data_type))
        self._add(name, "CONSTANT", [], [tensor])
        return tensor

    def _unnamed(self, kind: str, dtype: Any) -> Tensor:
        return Tensor(f"(Unnamed Layer* {len(self.layers)}) [{kind}]_output", dtype)

    def _add(self, name: str, kind: str, inputs: list[Any], outputs: list[Tensor], weights: int = 0) -> None:
        self.layers.append(ILayer(self._note, name, LayerType[kind], inputs, outputs, weights))

    def _named(self, node: Any, dtype: Any, shape: bool = False) -> Tensor:
        self.tensors[node.output[0]] = Tensor(node.output[0], dtype, shape)
        return self.tensors[node.output[0]]

    def _count(self, node: Any) -> int:
        """The weights of a kernel, also where they come out of a DequantizeLinear."""
        return int(onnx.numpy_helper.to_array(self.weights_of(node)).size)

    def weights_of(self, node: Any) -> Any:
        return self._weights[self._dequantised.get(node.input[1], node.input[1])]

    def _plain(self, node: Any, given: list[Any]) -> None:
        kind = _KINDS[node.op_type]
        dtype = given[1 if node.op_type == "Where" else 0].dtype
        if node.op_type == "Greater":
            dtype = DataType.BOOL
        elif dtype is DataType.HALF:
            dtype = DataType.FLOAT
        weights = self._count(node) if LayerType[kind] in KERNELS else 0
        shape = bool(given[0].is_shape_tensor)
        while given and given[-1] is None:
            given.pop()
        self._add(node.name, kind, given, [self._named(node, dtype, shape)], weights)

    def of_cast(self, node: Any, given: list[Any]) -> None:
        (code,) = (attribute.i for attribute in node.attribute if attribute.name == "to")
        dtype = self._dtype(code)
        self._add(node.name, "CAST", given, [self._named(node, DataType.FLOAT if dtype is DataType.HALF else dtype)])

    def of_shape(self, node: Any, given: list[Any]) -> None:
        self._add(node.name, "SHAPE", given, [self._named(node, DataType.INT32, True)])

    def of_quantizelinear(self, node: Any, given: list[Any]) -> None:
        self._add(node.name, "QUANTIZE", given[:2], [self._named(node, DataType.INT8)])

    def of_dequantizelinear(self, node: Any, given: list[Any]) -> None:
        self._add(node.name, "DEQUANTIZE", given[:2], [self._named(node, DataType.FLOAT)])

    def of_identity(self, node: Any, given: list[Any]) -> None:
        """No layer: the tensor takes the later name."""
        given[0].name = node.output[0]
        self.tensors[node.output[0]] = given[0]

    def of_argmax(self, node: Any, given: list[Any]) -> None:
        values, places = self._unnamed("TopK values", DataType.FLOAT), self._unnamed("TopK", DataType.INT32)
        self._add(node.name, "TOPK", given, [values, places])
        self._add(
            f"(Unnamed Layer* {len(self.layers)}) [Shuffle]", "SHUFFLE", [places], [self._named(node, DataType.INT32)]
        )

    def of_gemm(self, node: Any, given: list[Any]) -> None:
        """With an alpha, which the parser makes a FLOAT constant, whatever the product is in."""
        product = self._unnamed("Matrix Multiply", DataType.FLOAT)
        self._add(node.name, "MATRIX_MULTIPLY", given[:2], [product], self._count(node))
        if any(attribute.name == "alpha" for attribute in node.attribute):
            alpha = self._unnamed("Constant", DataType.FLOAT)
            self._add("alpha", "CONSTANT", [], [alpha])
            scaled = self._unnamed("ElementWise", DataType.FLOAT)
            self._add("scaled", "ELEMENTWISE", [alpha, product], [scaled])
            product = scaled
        self._add("summed", "ELEMENTWISE", [product, given[2]], [self._named(node, DataType.FLOAT)])
