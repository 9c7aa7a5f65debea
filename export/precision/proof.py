"""Proof of precision: how many multiply-adds a graph does in which type, and how many of them a session does so.

A file's name and a builder's flags prove nothing. The graph proves what was asked for, since engines that take it strongly typed
compute in its types; ONNX Runtime's optimised graph, read back layer by layer, proves what runs there. Both are weighed by
multiply-adds and held to the same share: of many small layers and a large one, the large one is what takes the time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import onnx
import onnxruntime as ort

from dlcv.export.precision.layers import Layer, layers_of
from dlcv.export.precision.proof_onnxruntime import operators_of, optimised_graph
from dlcv.export.shares import MIN_SHARE
from dlcv.runtime.errors import VerdictError
from dlcv.runtime.sessions.executed import MIN_SESSION_SHARE
from dlcv.runtime.sessions.onnxrt_graph import LAYERS, precisions_run, read_graph

_NAMED = 5
"""How many layers a message names."""


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

    @property
    def ran_share(self) -> float | None:
        """Of all multiply-adds, those that ONNX Runtime does in int8 on a CPU, 0..1; None where that is not known."""
        return _share(self.layers) if self._is_known else None

    def problems(self) -> list[str]:
        """What speaks against the claim, in words; empty when it holds."""
        found = []
        if not self.share >= self.min_share:
            others = [layer for layer in self.layers if layer.kind != self.precision]
            found.append(
                f"{self.share:.1%} of the graph's multiply-adds are in {self.precision}, expected at least {self.min_share:.1%}; not so: {self._named(others)}"
            )
        return found + self.session_problems()

    def session_problems(self) -> list[str]:
        """Of `problems`, those of int8 in ONNX Runtime.

        Held to `min_share` is what it could compute in int8; of all, as much as an opened session is held to (`MIN_SESSION_SHARE`).
        """
        if self.precision != "int8" or not self._is_known:
            return []
        by = f"ONNX Runtime {ort.__version__}"
        possible = [layer for layer in self.layers if layer.may_be_int8]
        others = [layer for layer in possible if layer.ran != "int8"]
        if possible and not _share(possible) >= self.min_share:
            return [
                f"{by} runs {_share(possible):.1%} of the multiply-adds that it could in int8, expected at least {self.min_share:.1%}; not so: {self._named(others, ran=True)}"
            ]
        if not _share(self.layers) >= MIN_SESSION_SHARE:
            others = [layer for layer in self.layers if layer.ran != "int8"]
            return [
                f"{by} runs {_share(self.layers):.1%} of the multiply-adds in int8, and a session with less than {MIN_SESSION_SHARE:.0%} is not opened; not so: {self._named(others, ran=True)}"
            ]
        return []

    def require(self) -> None:
        """Raises VerdictError, with all problems, when there are any."""
        if found := self.problems():
            raise VerdictError(f"the graph is not in {self.precision}, no file was written: {'; '.join(found)}")

    def graph_sentence(self) -> str:
        """What is proven of the graph alone, in a line."""
        text = f"{self.share:.1%} of the graph's multiply-adds in {self.precision}"
        if self.restored:
            more = f" and {len(self.restored) - _NAMED} more" if len(self.restored) > _NAMED else ""
            text += f"; restored to fp32: {', '.join(self.restored[:_NAMED])}{more}"
        return text

    def sentence(self) -> str:
        """What is proven, in a line: it stands on the model card."""
        text = self.graph_sentence()
        if self.precision == "int8":
            ran = self.ran_share
            by = f"ONNX Runtime {ort.__version__} on {'CPU' if ran is not None else 'a CPU'}"
            if ran is not None:
                return f"{text}; {by} runs {ran:.1%} in int8"
            return f"{text}; {by} does not run it" if self.session is None else f"{text}; what {by} runs is not known"
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
            "onnxruntime_int8_share": self.ran_share if self.precision == "int8" else None,
            "restored": list(self.restored),
            "sentence": self.sentence(),
        }

    @property
    def _is_known(self) -> bool:
        return bool(self.layers) and all(layer.ran for layer in self.layers)

    def _named(self, layers: list[Layer], *, ran: bool = False) -> str:
        """The largest of some layers, with what they are in, or what they ran in."""
        total = sum(layer.multiply_adds for layer in self.layers) or 1
        largest = sorted(layers, key=lambda layer: -layer.multiply_adds)
        named = [
            f"{x.name} ({x.operator}, {x.ran if ran else x.kind}, {x.multiply_adds / total:.1%})"
            for x in largest[:_NAMED]
        ]
        return ", ".join(named) + (f" and {len(layers) - _NAMED} more" if len(layers) > _NAMED else "")

    def _session_convolutions(self, kind: str) -> tuple[int, int]:
        """How many of the session's convolutions are of a type, and how many there are."""
        found = {key: n for key, n in (self.session or {}).items() if "Conv" in key and "Transpose" not in key}
        return sum(n for key, n in found.items() if key.endswith(f" {kind}")), sum(found.values())


def prove(proto: onnx.ModelProto, precision: str, min_share: float | None = None) -> Proof:
    """Counts a graph's multiply-adds by type, and looks at what ONNX Runtime makes of it.

    Args:
        proto: the graph; left as it is.
        precision: what it is said to be in.
        min_share: 0..1; None takes the one of `shares.MIN_SHARE`.

    Raises:
        ExportError: when a layer's work cannot be counted.
    """
    least = MIN_SHARE[precision] if min_share is None else min_share
    layers, optimised = layers_of(proto), optimised_graph(proto)
    if precision != "int8" or optimised is None:
        return Proof(precision, layers, operators_of(optimised), least)
    source = read_graph(proto.SerializeToString())
    ran, logits = precisions_run(source, optimised) or [""] * len(layers), _gives_logits(proto.graph)
    known = [
        replace(layer, ran=kind, may_be_int8=layer.operator == "Conv" and node.outputs[0] not in logits)
        for layer, kind, node in zip(layers, ran, source.layers(), strict=True)
    ]
    return Proof(precision, tuple(known), operators_of(optimised), least)


def _gives_logits(graph: onnx.GraphProto) -> set[str]:
    """The outputs of layers that no other layer follows."""
    feeds_a_layer: set[str] = set()
    for node in reversed(graph.node):
        if node.op_type in LAYERS or feeds_a_layer & set(node.output):
            feeds_a_layer.update(node.input)
    return {node.output[0] for node in graph.node if node.op_type in LAYERS} - feeds_a_layer


def _share(layers: Sequence[Layer]) -> float:
    """Of the multiply-adds of some layers, those that run in int8, 0..1."""
    total = sum(layer.multiply_adds for layer in layers)
    return sum(layer.multiply_adds for layer in layers if layer.ran == "int8") / total if total else 0.0
