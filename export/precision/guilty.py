"""Which layers of a graph lose what a low precision loses: each held, by itself, against the float32 graph on real images.

A layer is given the float32 graph's own input, rounded as the low graph would round it, and what it makes of that stands beside
what it makes in float32. So an error counts where it arises and not again in every layer behind. All of it is one graph beside the
float32 one whose outputs are a few sums for each layer.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from dlcv.export.precision.layer_names import layer_name, makers_of
from dlcv.export.precision.layers import Layer
from dlcv.export.precision.pairs import LAYERS
from dlcv.export.rounding import type_of_values
from dlcv.export.verify import graph_session

LARGEST = {"fp16": 65504.0}
"""The largest number of a type where float32 goes further."""
KINDS = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
BLAMELESS_DB = {"fp16": 60.0, "bf16": 42.0}
"""Signal to noise of a layer that loses nothing but the rounding of what it reads and makes: 6 dB for each of 11 and 8 bits, less a few. int8 has
no such figure: it depends on how a layer's values are spread over the range."""
WINDOWS = 8
"""Of the images that are verified on: enough to see what a layer's values are like."""
MANY_CLIPPED = 0.01
"""Of a layer's input; a range of 99.99 % of the values that are verified on cuts 0.0001."""


@dataclass(frozen=True)
class Guilty:
    """A layer, and what it loses.

    Attributes:
        name: the model's own, such as `features.0`.
        node: of the float32 graph.
        operator: such as `Conv`.
        share: of the multiply-adds, 0..1.
        snr_db: signal-to-noise ratio of what it makes of float32's input, in decibels; minus infinity where that is not finite.
        largest: 0 where nothing overflows (int8, bf16); else the largest absolute value among what it reads, makes, and others make of that.
        clipped: int8 alone: share of its input beyond the range that calibration chose, 0..1.
        overflows: whether `largest` is beyond the type.
    """

    name: str
    node: str
    operator: str
    share: float
    snr_db: float
    largest: float = 0.0
    clipped: float = 0.0
    overflows: bool = False

    @property
    def sentence(self) -> str:
        """In words, such as `features.0 (Conv, 1.2% of the multiply-adds, 3.1 dB of signal to noise)`."""
        facts = [self.operator, f"{self.share:.1%} of the multiply-adds"]
        if self.overflows:
            facts.append(f"values up to {self.largest:.3g} overflow")
        else:
            facts.append(f"{self.snr_db:.1f} dB of signal to noise")
        if self.clipped > MANY_CLIPPED:
            facts.append(f"{self.clipped:.1%} of its input beyond the calibrated range")
        return f"{self.name} ({', '.join(facts)})"

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        facts = {"name": self.name, "operator": self.operator, "share": self.share, "overflows": self.overflows}
        facts["snr_db"] = self.snr_db if math.isfinite(self.snr_db) else None
        facts |= {"clipped": self.clipped} if self.clipped else {}
        return facts | ({"largest": self.largest} if self.largest else {})


def guilty_layers(
    reference: onnx.ModelProto, low: onnx.ModelProto, precision: str, layers: Sequence[Layer],
    windows: Sequence[NDArray[np.uint8]], rest: str = "fp32",
) -> list[Guilty]:  # fmt: skip
    """The layers that the low graph has in the precision, the guiltiest first: what overflows, then by signal-to-noise ratio.

    Args:
        reference: the float32 graph.
        low: the graph in the precision, with layers of the same names.
        precision: `fp16`, `bf16` or `int8`.
        layers: of `low` (`proof.layers_of`).
        windows: images uint8 (H, W, 3), RGB, of the graph's size; the first few are taken.
        rest: of int8: `fp16` where layers hand float16 on, so that values beyond it overflow too.

    Raises:
        ExportError: when ONNX Runtime refuses the graph that measures.
    """
    in_it = {layer.name for layer in layers if layer.kind == precision}
    bound = LARGEST.get(rest if precision == "int8" else precision)
    measuring = _Measuring(reference, low, precision, in_it, bounded=bound is not None)
    sums = measuring.run(windows[:WINDOWS])
    total, work = sum(layer.multiply_adds for layer in layers) or 1, Counter[str]()
    for layer in layers:
        work[layer.name] += layer.multiply_adds
    found = []
    for layer in {layer.name: layer for layer in layers}.values():
        if layer.name in in_it and (node := measuring.nodes.get(layer.name)) is not None:
            largest = 0.0 if bound is None else max(sums[name, "largest"] for name in measuring.around[layer.name])
            found.append(
                Guilty(
                    layer.name, node.name, layer.operator, work[layer.name] / total,
                    _decibels(sums[layer.name, "signal"], sums[layer.name, "noise"]), largest,
                    sums[layer.name, "clipped"] / max(1, min(len(windows), WINDOWS)),
                    bound is not None and largest > bound,
                )
            )  # fmt: skip
    return sorted(found, key=lambda layer: (not layer.overflows, layer.snr_db))


def _decibels(signal: float, noise: float) -> float:
    if not math.isfinite(noise):
        return -math.inf
    return 10 * math.log10(signal / noise) if signal > 0 and noise > 0 else math.inf


class _Measuring:
    """The float32 graph with each layer a second time, in the low precision and by itself.

    Attributes:
        nodes: of the float32 graph, by the layer's name.
        around: by layer, the values whose size must fit the type: what it reads, makes, and what other nodes make of that.
    """

    def __init__(
        self, reference: onnx.ModelProto, low: onnx.ModelProto, precision: str, names: Collection[str], *, bounded: bool
    ) -> None:
        self._proto = onnx.ModelProto()
        self._proto.CopyFrom(reference)
        self._graph, self._low, self._precision = self._proto.graph, low.graph, precision
        makers = makers_of(self._graph)
        nodes = _layers_by_name(self._graph, makers)
        self.nodes = {name: node for name, node in nodes.items() if name in names}
        self.around: dict[str, list[str]] = defaultdict(list)
        self._weights = {tensor.name: tensor for tensor in (*self._graph.initializer, *low.graph.initializer)}
        self._outputs: dict[str, tuple[str, str]] = {}  # of the measuring graph -> whose, what
        del self._graph.output[:]
        if bounded:
            self._largest(reference)
        low_makers = makers_of(low.graph)
        low_nodes = _layers_by_name(low.graph, low_makers)
        for name, node in self.nodes.items():
            self._alone(name, node, low_nodes[name], low_makers)

    def run(self, windows: Sequence[NDArray[np.uint8]]) -> dict[tuple[str, str], float]:
        """Sums over the images (of `largest` the maximum), by whose and what."""
        session = graph_session(self._proto)
        found: dict[tuple[str, str], float] = defaultdict(float)
        for window in windows:
            values = session.run(list(self._outputs), {"image": window[None]})
            for key, value in zip(self._outputs.values(), values, strict=True):
                number = float(value)
                if math.isnan(number):
                    number = math.inf
                found[key] = max(found[key], number) if key[1] == "largest" else found[key] + number
        return found

    def _largest(self, reference: onnx.ModelProto) -> None:
        """The largest absolute value of each float32 value; a value that no layer makes is laid to the nearest layer before it."""
        kinds, makers = type_of_values(reference), makers_of(self._graph)
        by_node = {node.output[0]: name for name, node in self.nodes.items()}
        for node in list(self._graph.node):
            value = node.output[0]
            if kinds.get(value) != TensorProto.FLOAT:
                continue
            self._op("Abs", [value], f"{value}:abs")
            self._out("ReduceMax", [f"{value}:abs"], (value, "largest"), keepdims=0)
            owner = _nearest(value, by_node, makers)
            if owner is not None:
                self.around[owner].append(value)
        for name, node in self.nodes.items():
            self.around[name] += [value for value in node.input[:1] if kinds.get(value) == TensorProto.FLOAT]

    def _alone(
        self, name: str, node: onnx.NodeProto, low: onnx.NodeProto, low_makers: dict[str, onnx.NodeProto]
    ) -> None:
        """A layer on float32's input in the low precision, and the sums that tell what it loses."""
        copied = onnx.NodeProto()
        copied.CopyFrom(node)
        copied.name, copied.output[0] = f"{name}:alone", f"{name}:raw"
        if self._precision == "int8":
            copied.input[0] = self._pair(name, node.input[0], low_makers[low.input[0]], low_makers, "in")
            second = low_makers[low.input[1]]
            if second.input[0] in self._weights:
                copied.input[1] = self._int8_weight(name, second)
            else:  # attention multiplies two values
                copied.input[1] = self._pair(name, node.input[1], second, low_makers, "second")
        else:
            for place, source in enumerate(node.input):
                copied.input[place] = self._rounded(f"{name}:{place}", source)
        self._graph.node.append(copied)
        result = f"{name}:raw"
        if self._precision == "int8":
            readers = [n for n in self._low.node if low.output[0] in n.input]
            if len(readers) == 1 and readers[0].op_type == "QuantizeLinear":
                result = self._pair(name, result, readers[0], low_makers, "out")
        else:
            result = self._rounded(f"{name}:out", result)
        self._op("Sub", [node.output[0], result], f"{name}:error")
        for what, value in (("signal", node.output[0]), ("noise", f"{name}:error")):
            self._out("ReduceSumSquare", [value], (name, what), keepdims=0)

    def _pair(
        self, name: str, value: str, node: onnx.NodeProto, low_makers: dict[str, onnx.NodeProto], which: str
    ) -> str:
        """`value` through QuantizeLinear and DequantizeLinear with the scale of a node of the low graph."""
        scale, zero = node.input[1:3]
        self._take(scale, zero)
        self._op("QuantizeLinear", [value, scale, zero], f"{name}:{which}:int8")
        self._op("DequantizeLinear", [f"{name}:{which}:int8", scale, zero], f"{name}:{which}:float")
        if which == "in":
            self._constant(f"{name}:bound", numpy_helper.to_array(self._weights[scale]) * np.float32(127.5))
            self._op("Abs", [value], f"{name}:{which}:abs")
            self._op("Greater", [f"{name}:{which}:abs", f"{name}:bound"], f"{name}:{which}:beyond")
            self._op("Cast", [f"{name}:{which}:beyond"], f"{name}:{which}:beyond01", to=TensorProto.FLOAT)
            self._out("ReduceMean", [f"{name}:{which}:beyond01"], (name, "clipped"), keepdims=0)
        return f"{name}:{which}:float"

    def _int8_weight(self, name: str, node: onnx.NodeProto) -> str:
        self._take(*node.input)
        copied = onnx.NodeProto()
        copied.CopyFrom(node)
        copied.name, copied.output[0] = f"{name}:weight", f"{name}:weight"
        self._graph.node.append(copied)
        return str(copied.output[0])

    def _rounded(self, name: str, value: str) -> str:
        if not value:
            return value
        self._op("Cast", [value], f"{name}:low", to=KINDS[self._precision])
        self._op("Cast", [f"{name}:low"], f"{name}:wide", to=TensorProto.FLOAT)
        return f"{name}:wide"

    def _take(self, *names: str) -> None:
        have = {tensor.name for tensor in self._graph.initializer}
        self._graph.initializer.extend(self._weights[name] for name in names if name not in have)

    def _constant(self, name: str, value: NDArray[Any]) -> None:
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.float32), name))

    def _op(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self._graph.node.append(helper.make_node(operator, inputs, [output], output, **attributes))

    def _out(self, operator: str, inputs: list[str], key: tuple[str, str], **attributes: Any) -> None:
        name = f"sum:{len(self._outputs)}"
        self._op(operator, inputs, name, **attributes)
        self._graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, []))
        self._outputs[name] = key


def _layers_by_name(graph: onnx.GraphProto, makers: Mapping[str, onnx.NodeProto]) -> dict[str, onnx.NodeProto]:
    """The first of those that share a weight stands for them: torch's exporter keeps one of two equal weights."""
    layers = [node for node in graph.node if node.op_type in LAYERS]
    return {layer_name(node, makers): node for node in reversed(layers)}


def _nearest(value: str, by_node: dict[str, str], makers: dict[str, onnx.NodeProto]) -> str | None:
    """The layer that made a value, else the nearest one before it; None where there is none."""
    seen, waiting = {value}, [value]
    while waiting:
        name = waiting.pop(0)
        if name in by_node:
            return by_node[name]
        for source in makers[name].input if name in makers else ():
            if source not in seen:
                seen.add(source)
                waiting.append(source)
    return None
