"""The types of a graph's values, read without onnx, against onnx's own inference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlcv.export.builders.graph_types import graph_types
from dlcv.runtime.errors import EngineError, ExportError
from dlcv.runtime.graphs.onnx_graph import TYPES

onnx = pytest.importorskip("onnx", reason="onnx makes the graphs of these tests")

import plan_graphs  # noqa: E402
from plan_graphs import write_half_graph  # noqa: E402


def inferred(path: Path) -> dict[str, str]:
    """By onnx."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    ports = (*graph.input, *graph.value_info, *graph.output)
    return {port.name: TYPES[port.type.tensor_type.elem_type][0] for port in ports} | {
        tensor.name: TYPES[tensor.data_type][0] for tensor in graph.initializer
    }


@pytest.mark.parametrize("make", ["write_graph", "write_half_graph", "write_int8_graph"])
def test_the_types_are_those_that_onnx_infers(tmp_path: Path, make: str) -> None:
    path = getattr(plan_graphs, make)(tmp_path / "g.onnx")
    found = graph_types(path)
    assert found.values == inferred(path)
    assert found.holds("float16") == (make == "write_half_graph") and found.quantised == (make == "write_int8_graph")


def test_every_rule_says_what_onnx_says(tmp_path: Path) -> None:
    h, types = onnx.helper, onnx.TensorProto
    value = onnx.numpy_helper.from_array(np.zeros(1, np.float16))
    nodes = [
        h.make_node("Constant", [], ["c"], value=value),
        h.make_node("Constant", [], ["number"], value_float=1.0),
        h.make_node("Constant", [], ["numbers"], value_ints=[2]),
        h.make_node("ConstantOfShape", ["numbers"], ["filled"], value=value),
        h.make_node("ConstantOfShape", ["numbers"], ["zeros"]),
        h.make_node("CastLike", ["zeros", "c"], ["liked"]),
        h.make_node("TopK", ["x", "numbers"], ["best", "places"]),
        h.make_node("TopK", ["x", "numbers"], ["", "places alone"]),
        h.make_node("Dropout", ["x"], ["kept", "which"]),
        h.make_node("MaxPool", ["image"], ["pooled", "from"], kernel_shape=[1, 1]),
        h.make_node("NonZero", ["x"], ["set"]),
        h.make_node("Equal", ["x", "x"], ["equal"]),
        h.make_node("Not", ["equal"], ["unequal"]),
        h.make_node("Where", ["equal", "x", "x"], ["either"]),
        h.make_node("Size", ["x"], ["size"]),
        h.make_node("Resize", ["image", "", "", "numbers4"], ["larger"]),
    ]
    numbers4 = onnx.numpy_helper.from_array(np.array([1, 1, 4, 4]), "numbers4")
    image = h.make_tensor_value_info("image", types.FLOAT16, [1, 1, 2, 2])
    inputs = [h.make_tensor_value_info("x", types.FLOAT, [4]), image]
    outputs = [h.make_tensor_value_info("either", types.FLOAT, [4])]
    model = h.make_model(h.make_graph(nodes, "g", inputs, outputs, [numbers4]), opset_imports=[h.make_opsetid("", 17)])
    onnx.save(model, tmp_path / "g.onnx")
    assert graph_types(tmp_path / "g.onnx").values == inferred(tmp_path / "g.onnx")


def _one(tmp_path: Path, node: Any, declared: Any = ()) -> Path:
    h, types = onnx.helper, onnx.TensorProto
    inputs = [h.make_tensor_value_info("x", types.FLOAT, [4])]
    outputs = [h.make_tensor_value_info("z", types.FLOAT16, [4])]
    nodes = [node, h.make_node("Cast", ["y"], ["z"], to=types.FLOAT16)]
    onnx.save(h.make_model(h.make_graph(nodes, "g", inputs, outputs, value_info=declared)), tmp_path / "g.onnx")
    return tmp_path / "g.onnx"


def test_what_follows_from_no_rule_is_taken_as_declared_or_refused(tmp_path: Path) -> None:
    h = onnx.helper
    foreign = h.make_node("Gelu", ["x"], ["y"], domain="com.microsoft", name="gelu")
    path = _one(tmp_path, foreign)
    with pytest.raises(ExportError) as caught:
        graph_types(path)
    assert str(caught.value) == (
        f"{path} does not tell the type of 'y', which Gelu gelu gives; build with TensorRT 10 or newer, which works it out itself"
    )
    declared = [h.make_tensor_value_info("y", onnx.TensorProto.BFLOAT16, [4])]
    assert graph_types(_one(tmp_path, foreign, declared)).values["y"] == "bfloat16"


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = write_half_graph(tmp_path / "g.onnx")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(EngineError, match=r"g\.onnx is not an ONNX file, or is damaged: .*; export the model again$"):
        graph_types(path)
