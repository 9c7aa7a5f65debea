"""The rounded twin: what a low type loses and overflows shows on a CPU that computes in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from dlcv.export.rounding import rounded_twin


def _two_layers(kind: int, first: float, second: float) -> onnx.ModelProto:
    """x float (1, 1, 1, 1) -> times `first`, in the low type -> times `second` -> y float."""
    weights = [
        helper.make_tensor(name, kind, [1, 1, 1, 1], [value]) for name, value in (("a", first), ("b", second))
    ]  # fmt: skip
    nodes = [
        helper.make_node("Cast", ["x"], ["low"], to=kind),
        helper.make_node("Conv", ["low", "a"], ["large"]),
        helper.make_node("Relu", ["large"], ["positive"]),
        helper.make_node("Conv", ["positive", "b"], ["out"]),
        helper.make_node("Cast", ["out"], ["y"], to=TensorProto.FLOAT),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, 1, 1]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)


def _run(proto: onnx.ModelProto, x: float) -> float:
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return float(session.run(None, {"x": np.full((1, 1, 1, 1), x, np.float32)})[0].item())


def test_what_overflows_between_two_layers_shows() -> None:
    """600 x 600 does not fit float16; ONNX Runtime's CPU provider computes on in float32 and says 3.6."""
    proto = _two_layers(TensorProto.FLOAT16, 600, 1e-5)
    assert _run(rounded_twin(proto), 600) == np.inf
    assert _run(rounded_twin(_two_layers(TensorProto.BFLOAT16, 600, 1e-5)), 600) == pytest.approx(3.6, rel=0.02)


def test_every_result_is_rounded() -> None:
    twin = rounded_twin(_two_layers(TensorProto.FLOAT16, 1.001, 3))
    expected = np.float16(np.float32(np.float16(np.float32(np.float16(1.001)) * np.float32(np.float16(1.1)))) * 3)
    assert _run(twin, 1.1) == float(expected) != pytest.approx(1.1 * 1.001 * 3, rel=1e-5)


def test_the_graph_itself_stays_and_a_float_graph_is_not_changed() -> None:
    proto = _two_layers(TensorProto.BFLOAT16, 2, 3)
    before = proto.SerializeToString()
    twin = rounded_twin(proto)
    assert proto.SerializeToString() == before
    assert {tensor.data_type for tensor in twin.graph.initializer} == {TensorProto.FLOAT}
    plain = _graph_without_low()
    assert [n.op_type for n in rounded_twin(plain).graph.node] == [n.op_type for n in plain.graph.node]


def _graph_without_low() -> Any:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    weight = numpy_helper.from_array(np.float32([2]), "w")
    graph = helper.make_graph([helper.make_node("Mul", ["x", "w"], ["y"])], "g", values[:1], values[1:], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
