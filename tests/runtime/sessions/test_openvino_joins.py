"""int8 convolutions of joined values in OpenVINO: right once each value is quantised before it is joined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

onnx = pytest.importorskip("onnx", reason="the export extra is not installed")
openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")

import onnxruntime as ort  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from dlcv.runtime.sessions.openvino_joins import quantise_before_joins  # noqa: E402

SCALE = 0.037


def joined(*channels: int, readers: int = 1) -> Any:
    """Inputs `x0`, `x1` ... float32 (1, C, 16, 16), joined, quantised to int8 and read by convolutions 3 x 3 of 8 channels."""
    rng, node = np.random.default_rng(1), helper.make_node
    names = [f"x{k}" for k in range(len(channels))]
    nodes = [
        node("Concat", names, ["joined"], axis=1),
        node("QuantizeLinear", ["joined", "scale", "zero"], ["q"]),
        node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
    ]
    kept = [numpy_helper.from_array(np.float32(SCALE), "scale"), numpy_helper.from_array(np.int8(0), "zero")]
    for k in range(readers):
        weight = rng.integers(-127, 128, (8, sum(channels), 3, 3)).astype(np.int8)
        kept += [
            numpy_helper.from_array(weight, f"weight{k}"),
            numpy_helper.from_array(np.full(8, 0.002, np.float32), f"scales{k}"),
            numpy_helper.from_array(np.zeros(8, np.int8), f"zeros{k}"),
        ]
        nodes.append(node("DequantizeLinear", [f"weight{k}", f"scales{k}", f"zeros{k}"], [f"w{k}"], axis=0))
        nodes.append(node("Conv", ["d", f"w{k}"], [f"y{k}"], pads=[1, 1, 1, 1]))
    inputs = [helper.make_tensor_value_info(f"x{k}", TensorProto.FLOAT, [1, c, 16, 16]) for k, c in enumerate(channels)]
    outputs = [helper.make_tensor_value_info(f"y{k}", TensorProto.FLOAT, None) for k in range(readers)]
    graph = helper.make_graph(nodes, "joined", inputs, outputs, kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def given(*channels: int) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    return {f"x{k}": rng.normal(0, 1.5, (1, c, 16, 16)).astype(np.float32) for k, c in enumerate(channels)}


def answers(model: Any, values: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled(values)
    return [found[output] for output in compiled.outputs]


@pytest.mark.parametrize("channels", [(8, 8), (6, 10), (16, 16), (32, 16), (4, 4, 8)])
@pytest.mark.parametrize("readers", [1, 2])
def test_answers_are_those_of_onnx_runtime(channels: tuple[int, ...], readers: int, tmp_path: Path) -> None:
    proto, values = joined(*channels, readers=readers), given(*channels)
    (tmp_path / "joined.onnx").write_bytes(proto.SerializeToString())
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, values)
    model = openvino.Core().read_model(tmp_path / "joined.onnx")
    assert quantise_before_joins(model, openvino.opset13) == 1
    for got, wanted in zip(answers(model, values), expected, strict=True):
        assert np.abs(wanted).max() > 3
        np.testing.assert_allclose(got, wanted, atol=2 * 127 * 0.002 * SCALE)  # a value that falls on half a step
    names = [one.get_type_name() for one in model.get_ordered_ops()]
    assert names.count("FakeQuantize") == len(channels)


def test_what_is_not_joined_stays_as_it_is(tmp_path: Path) -> None:
    proto = joined(8)
    proto.graph.node[0].op_type = "Relu"
    del proto.graph.node[0].attribute[:]
    (tmp_path / "plain.onnx").write_bytes(proto.SerializeToString())
    model = openvino.Core().read_model(tmp_path / "plain.onnx")
    assert quantise_before_joins(model, openvino.opset13) == 0
