"""Which layer runs in int8 is told layer by layer, also where two share their weight."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dlcv.runtime.sessions.onnxrt_graph import optimised_path, precisions_run, read_graph

onnx = pytest.importorskip("onnx", reason="onnx makes the graphs of these tests")
ort = pytest.importorskip("onnxruntime", reason="ONNX Runtime makes of them what is read")


def shared(*in_int8: bool, names: bool = True) -> bytes:
    """Convolutions one behind the other with one int8 weight; pairs are round those that shall be int8."""
    h, types = onnx.helper, onnx.TensorProto
    nodes, value = [h.make_node("DequantizeLinear", ["kernel", "scale", "zero"], ["weight"])], "x"

    def pair(given: str) -> str:
        quantised, back = f"{given}_q{len(nodes)}", f"{given}_dq{len(nodes)}"
        nodes.append(h.make_node("QuantizeLinear", [given, "scale", "zero"], [quantised]))
        nodes.append(h.make_node("DequantizeLinear", [quantised, "scale", "zero"], [back]))
        return back

    for index, wanted in enumerate(in_int8):
        given = pair(value) if wanted else value
        nodes.append(h.make_node("Conv", [given, "weight"], [f"c{index}"], f"conv{index}" if names else ""))
        value = pair(f"c{index}") if wanted else f"c{index}"
        nodes.append(h.make_node("Sigmoid", [value], [f"s{index}"]))
        value = f"s{index}"
    nodes.append(h.make_node("Identity", [value], ["y"]))
    weights = {"kernel": np.ones((4, 4, 1, 1), np.int8), "scale": np.float32(0.1), "zero": np.int8(0)}
    graph = h.make_graph(
        nodes, "g", [h.make_tensor_value_info("x", types.FLOAT, ["n", 4, 8, 8])], [h.make_tensor_value_info("y", types.FLOAT, ["n", 4, 8, 8])],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )  # fmt: skip
    data: bytes = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8).SerializeToString()
    return data


def ran(data: bytes) -> Any:
    options = ort.SessionOptions()
    with optimised_path(options) as path:
        ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        return precisions_run(read_graph(data), read_graph(path))


@pytest.mark.parametrize("wanted", [(True, False), (False, True), (True, True), (False, False), (True, False, True)])
def test_a_shared_weight_tells_of_the_layer_that_runs_in_int8_alone(wanted: tuple[bool, ...]) -> None:
    assert ran(shared(*wanted)) == ["int8" if one else "fp32" for one in wanted]


def test_without_names_a_shared_weight_tells_only_where_all_read_it() -> None:
    assert ran(shared(True, True, names=False)) == ["int8", "int8"]
    assert ran(shared(True, False, names=False)) == ["fp32", "fp32"], (
        "which of the two is not told, so neither is claimed"
    )
