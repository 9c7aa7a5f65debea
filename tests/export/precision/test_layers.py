"""Multiply-adds of layers whose shapes cannot be inferred: they are those of a run."""

from __future__ import annotations

import onnx
import pytest
from attention import CARD, Attention
from onnx import TensorProto, helper

from dlcv.export.onnx_from_checkpoint import onnx_from_model
from dlcv.export.precision import layers
from dlcv.export.precision.layers import layers_of
from dlcv.runtime.errors import ExportError


def test_attention_at_sizes_that_vary(monkeypatch: pytest.MonkeyPatch) -> None:
    proto = onnx_from_model(Attention().eval(), CARD)
    places = 2 * 3
    expected = {"Conv": [8 * places * 3 * 64, 2 * places * 8], "MatMul": [places * places * 8, 8 * places * places]}
    for operator, each in expected.items():
        assert [layer.multiply_adds for layer in layers_of(proto) if layer.operator == operator] == each
    unknown = onnx.ModelProto()
    unknown.CopyFrom(proto)
    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", lambda single, **_: single)  # which finds nothing
    assert [layer.multiply_adds for layer in layers_of(unknown)] == [layer.multiply_adds for layer in layers_of(proto)]
    asked: list[int] = []
    monkeypatch.setattr(layers, "_seen_shapes", lambda single, names: asked.append(len(names)) or {})
    with pytest.raises(ExportError, match="cannot be counted: its shapes are not known"):
        layers_of(unknown)
    assert asked and asked[0] > 4


def test_what_does_not_run_here_is_not_known() -> None:
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], "conv")], "g",
        [helper.make_tensor_value_info("x", TensorProto.BFLOAT16, ["N", 3, "H", 8]), helper.make_tensor_value_info("w", TensorProto.BFLOAT16, [4, 3, 3, 3])],
        [helper.make_tensor_value_info("y", TensorProto.BFLOAT16, ["N", 4, "H", 6])],
    )  # fmt: skip
    with pytest.raises(ExportError, match="cannot be counted: its shapes are not known"):
        layers_of(helper.make_model(graph))
