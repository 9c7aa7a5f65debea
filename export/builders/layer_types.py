"""A graph's types, told layer by layer to a TensorRT that would choose its own: 8.x, whose networks are weakly typed.

There float16 and int8 are allowed by flags of the builder, and a layer runs in what is fastest unless it is held to a type. So each
layer that computes in floating point is held to the type of the graph's value that it gives: float16 where the graph says so, and
float32 where it stays there. Q/DQ pairs place int8 by themselves, so layers that read from them are left to TensorRT.
TensorRT's parser names a tensor like the graph's value; one that it made between two of them has the type of what flows into it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dlcv.export.builders.graph_types import GraphTypes
from dlcv.export.builders.options import BuildOptions
from dlcv.runtime.errors import ExportError, UsageError
from dlcv.runtime.sessions.trt_layers import PRECISIONS

KINDS = {"float32": "FLOAT", "float16": "HALF"}
"""A graph's type -> a member of TensorRT's DataType."""
_OWN = ("CONSTANT", "CAST", "IDENTITY")
"""Layers whose type is part of what they are; a tensor of theirs that the graph does not name has the type that it says."""
_UNTOUCHED = (
    *_OWN, "SHAPE", "QUANTIZE", "DEQUANTIZE", "TRIP_LIMIT", "RECURRENCE", "ITERATOR", "LOOP_OUTPUT", "CONDITION",
    "CONDITIONAL_INPUT", "CONDITIONAL_OUTPUT", "ASSERTION",
)  # fmt: skip
"""Layers that are held to nothing: they compute nothing in floating point."""


def refuse_what_cannot_be(precision: str, options: BuildOptions, label: str) -> None:
    """What no graph and no GPU would change: `label` names the builder, of 8.x.

    Raises:
        ExportError: for bfloat16.
        UsageError: for a version-compatible plan: the lean runtime that opens it has no inspector.
    """
    if precision == "bf16":
        raise ExportError(
            f"{label} knows no bfloat16, and this graph is bf16; export it with --precision fp16, or build with TensorRT 10 or newer"
        )
    if options.version_compatible:
        raise UsageError(
            f"{label} does not tell what a version-compatible plan's layers run in, so {precision} cannot be proven; "
            "leave out --version-compatible, or build with TensorRT 10 or newer"
        )


def refuse_what_is_missing(builder: Any, types: GraphTypes, precision: str, label: str) -> None:
    """Holds the precision of a card to its graph, and both to the GPU.

    Args:
        builder: TensorRT's.
        types: of the graph.
        precision: that the card says.
        label: of the builder, in words.

    Raises:
        ExportError: when the graph is not what its card says, or the GPU computes slowly or not at all in its types.
    """
    halves = types.holds("float16")
    if (precision == "fp16" and not halves) or (precision == "int8" and not types.quantised):
        raise ExportError(f"the card says {precision}, and the graph holds nothing of it; export it again")
    for kind, wanted, there in (
        ("fp16", halves, "platform_has_fast_fp16"),
        ("int8", types.quantised, "platform_has_fast_int8"),
    ):
        if wanted and not getattr(builder, there):
            raise ExportError(
                f"{label} finds no fast {kind} on this machine's GPU, and the graph computes in it; export it with --precision fp32"
            )


def allow(trt: Any, config: Any, types: GraphTypes) -> None:
    """Sets the flags without which a builder of 8.x takes neither float16 nor int8, and the one that makes it keep to types."""
    if types.quantised:
        config.set_flag(trt.BuilderFlag.INT8)
    if types.holds("float16"):
        config.set_flag(trt.BuilderFlag.FP16)
        config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)


def hold(trt: Any, network: Any, types: GraphTypes) -> dict[str, str]:
    """Holds the layers of a parsed network to the graph's types; changes `network`.

    Without float16 in the graph nothing is held: the flag is not set, so that float32 stays what it is.

    Returns:
        Precision by name of each layer that is held, such as `{"conv1": "fp16"}`.
    """
    return _Flow(trt, network, types.values).hold() if types.holds("float16") else {}


class _Flow:
    """The types of a network's tensors, from its inputs to its outputs."""

    def __init__(self, trt: Any, network: Any, values: dict[str, str]) -> None:
        self._types = {name: getattr(trt.DataType, kind) for name, kind in KINDS.items()}
        self._words = {getattr(trt.DataType, kind): PRECISIONS[kind.lower()] for kind in KINDS.values()}
        self._layers = [network.get_layer(index) for index in range(network.num_layers)]
        self._members = {getattr(trt.LayerType, name, None): name for name in _UNTOUCHED}
        self._values, self._kinds, self._constants = values, dict[str, Any](), set[str]()
        for tensor in self._floats(map(network.get_input, range(network.num_inputs))):
            self._kinds[tensor.name] = self._types.get(values.get(tensor.name, ""), tensor.dtype)
        self._quantised = {
            name for layer in self._layers if self._name(layer) == "QUANTIZE" for name in _names(_inputs(layer))
        }
        self._dequantised, self._left = set[str](), set[str]()

    def hold(self) -> dict[str, str]:
        held = {}
        for layer in self._layers:
            for tensor in self._floats(_outputs(layer)):
                self._kinds[tensor.name] = self._kind(layer, tensor)
            kind, left = self._computes_in(layer), self._is_left_to_pairs(layer)
            if kind is not None and not left and self._may_be_held(layer):
                layer.precision = kind
                for index, tensor in enumerate(_outputs(layer)):
                    if tensor is not None and tensor.name in self._kinds:
                        layer.set_output_type(index, self._kinds[tensor.name])
                held[layer.name] = self._words[kind]
        return held

    def _is_left_to_pairs(self, layer: Any) -> bool:
        """Whether TensorRT may make a layer int8, or join it to one that it makes int8.

        That is a layer that reads what a DequantizeLinear gives, and one between such a layer and a QuantizeLinear.
        """
        given, gives = set(_names(_inputs(layer))), set(_names(_outputs(layer)))
        if self._name(layer) == "DEQUANTIZE":
            self._dequantised |= gives
        elif given & self._dequantised or (given & self._left and gives & self._quantised):
            self._left |= gives
            return True
        return False

    def _floats(self, tensors: Iterator[Any]) -> list[Any]:
        return [tensor for tensor in tensors if tensor is not None and tensor.dtype in self._words]

    def _kind(self, layer: Any, tensor: Any) -> Any:
        """What the graph says of a tensor; of one that the parser made, what flows into it, constants last."""
        told = self._types.get(self._values.get(tensor.name, ""))
        if self._name(layer) in _OWN:
            if self._name(layer) == "CONSTANT":
                self._constants.add(tensor.name)
            return told or tensor.dtype
        flowing = [given.name for given in _inputs(layer) if given is not None and given.name in self._kinds]
        flowing.sort(key=lambda name: name in self._constants)
        return told or (self._kinds[flowing[0]] if flowing else tensor.dtype)

    def _computes_in(self, layer: Any) -> Any:
        """The type of what a layer gives; of one that gives no floating point, such as a comparison, of what it takes."""
        found = [*self._floats(_outputs(layer)), *self._floats(_inputs(layer))]
        return next((self._kinds[tensor.name] for tensor in found if tensor.name in self._kinds), None)

    def _may_be_held(self, layer: Any) -> bool:
        if self._name(layer) in _UNTOUCHED:
            return False
        given, gives = ([tensor for tensor in side if tensor is not None] for side in (_inputs(layer), _outputs(layer)))
        return not any(tensor.is_shape_tensor for tensor in (*given[:1], *gives))

    def _name(self, layer: Any) -> str:
        return self._members.get(layer.type, "")


def _inputs(layer: Any) -> Iterator[Any]:
    """The tensors that a layer takes; None for one that it is not given."""
    return map(layer.get_input, range(layer.num_inputs))


def _outputs(layer: Any) -> Iterator[Any]:
    return map(layer.get_output, range(layer.num_outputs))


def _names(tensors: Iterator[Any]) -> list[str]:
    return [tensor.name for tensor in tensors if tensor is not None]
