"""What the layers of a parsed, strongly typed network compute in: TensorRT 10, 11 and TensorRT-RTX keep to these types by contract.

It needs no GPU and is known before anything is compiled, so it stands on the plan's card. What was compiled is asked besides
(`kernel_types.py`, `plan_types.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dlcv.runtime.sessions.executed import Executed, Operator
from dlcv.runtime.sessions.trt_layers import PRECISIONS

BY = "types of the strongly typed network as parsed"
CLASSES = {"CONVOLUTION": "IConvolutionLayer", "DECONVOLUTION": "IDeconvolutionLayer", "MATRIX_MULTIPLY": "IMatrixMultiplyLayer"}  # fmt: skip
"""Kinds of layers with multiply-adds, and what their own attributes are reached as."""
_THROUGH = ("SHUFFLE", "IDENTITY", "CAST", "SLICE")
"""What may stand between a DequantizeLinear and the layer that reads it, such as the transposition of a Gemm's weights."""


@dataclass(frozen=True)
class TypedLayer:
    """A layer with multiply-adds of a parsed network.

    Attributes:
        operator: name, kind, precision and multiply-adds for one image; 0 of the latter where a size is not known.
        mark: how the list of kernels in the build log refers to it.
        weights: how many its kernel has.
    """

    operator: Operator
    mark: str
    weights: int


def typed_layers(trt: Any, network: Any, image: Any, shape: tuple[int, int, int, int]) -> tuple[TypedLayer, ...]:
    """The layers with multiply-adds, in the network's order.

    Args:
        trt: the TensorRT library.
        network: as its parser made it, strongly typed; left as it is.
        image: the network's input.
        shape: that the sizes are asked for, (N, H, W, 3): where a size varies, layers do not tell it otherwise.
    """
    own = tuple(image.shape)
    image.shape = shape
    try:
        layers = [network.get_layer(index) for index in range(network.num_layers)]
        makers = {
            output.name: layer
            for layer in layers
            for output in map(layer.get_output, range(layer.num_outputs))
            if output
        }
        names = {getattr(trt.LayerType, name, None): name for name in (*CLASSES, *_THROUGH, "DEQUANTIZE")}
        kinds = {getattr(trt.DataType, word.upper(), None): ours for word, ours in PRECISIONS.items()}
        network_types = _Types(names, kinds, makers)
        return tuple(
            _typed(trt, layer, names[layer.type], network_types) for layer in layers if names.get(layer.type) in CLASSES
        )
    finally:
        image.shape = own


def executed_of(layers: tuple[TypedLayer, ...]) -> Executed:
    """What the network's types say, to be counted like what a session tells; layer by layer where the work of one is not known."""
    operators = tuple(layer.operator for layer in layers)
    if all(one.multiply_adds for one in operators):
        return Executed(BY, operators)
    return Executed(f"{BY}, by the number of layers", tuple(replace(one, multiply_adds=1) for one in operators))


@dataclass(frozen=True)
class _Types:
    names: Mapping[Any, str]
    kinds: Mapping[Any, str]
    makers: Mapping[str, Any]

    def of(self, tensor: Any) -> str:
        """What a layer that reads a tensor computes in; int8 where a DequantizeLinear of int8 gives it."""
        maker = self.makers.get(tensor.name)
        while maker is not None and self.names.get(maker.type) in _THROUGH:
            maker = self.makers.get(maker.get_input(0).name)
        if maker is not None and self.names.get(maker.type) == "DEQUANTIZE":
            tensor = maker.get_input(0)
        return self.kinds.get(tensor.dtype, str(tensor.dtype).rsplit(".", 1)[-1].lower())


def _typed(trt: Any, layer: Any, kind: str, types: _Types) -> TypedLayer:
    sides = [types.of(tensor) for tensor in map(layer.get_input, range(min(layer.num_inputs, 2))) if tensor is not None]
    precision = sides[0] if len(set(sides)) == 1 else " x ".join(sides)
    weights, work = _counts(trt, layer, kind)
    mark = getattr(layer, "metadata", "") or f"[ONNX Layer: {layer.name}]"
    return TypedLayer(Operator(layer.name, kind.lower(), precision, work), mark, weights)


def _counts(trt: Any, layer: Any, kind: str) -> tuple[int, int]:
    """Weights, and multiply-adds for one image; 0 where a size is not known."""
    given, gives = tuple(layer.get_input(0).shape), tuple(layer.get_output(0).shape)
    if kind == "MATRIX_MULTIPLY":
        return given[-1] * gives[-1], _product(gives[1:]) * max(given[-1], 0)
    mark = getattr(trt, CLASSES[kind], None)
    if mark is not None:
        layer.__class__ = mark  # as the bindings want it: a network gives bare layers
    positions = _product(tuple(layer.kernel_size_nd))
    if kind == "CONVOLUTION":
        each = given[1] // layer.num_groups * positions
        return gives[1] * each, _product(gives[1:]) * each
    each = gives[1] // layer.num_groups * positions
    return given[1] * each, _product(given[1:]) * each


def _product(sides: tuple[int, ...]) -> int:
    total = 1
    for side in sides:
        total *= max(int(side), 0)
    return total
