"""The graphs that the exporter writes for TensorRT 8.6, in the builder's double: each layer is held to what the graph says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from dlcv.export.builders.graph_types import graph_types
from dlcv.export.builders.layer_types import allow, hold

onnx = pytest.importorskip("onnx", reason="the export extra is not installed")
torch = pytest.importorskip("torch", reason="the export extra is not installed")

from dlcv.export.onnx_from_checkpoint import onnx_from_model, with_card  # noqa: E402
from dlcv.export.opsets import lower_opset  # noqa: E402
from dlcv.export.precision.calibration import int8_from_onnx  # noqa: E402
from dlcv.export.precision.cast import network_at  # noqa: E402
from dlcv.export.precision.layers import layers_of  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable


from builder_double import KERNELS, World, make_builder  # noqa: E402

RESTORED = "score_pool4"


def _parsed(path: Path) -> tuple[Any, Any, Any]:
    """World, module and network of 8.6 with the graph in it."""
    world = World()
    trt = make_builder(world, "tensorrt", "8.6.2.3")
    network = trt.Builder(None).create_network(1)
    assert trt.OnnxParser(network, None).parse_from_file(str(path))
    return world, trt, network


def test_fcn8s_in_float16_with_a_layer_in_float32(tiny_model: Any, tiny_card: Any, tmp_path: Path) -> None:
    low = network_at(tiny_model, "fp16", tiny_card.input_size_hw, (RESTORED,))
    proto = onnx_from_model(low, tiny_card.changed(precision="fp16", head="mask"), newest_opset=17)
    del proto.graph.value_info[:]
    onnx.save(proto, tmp_path / "fcn8s.onnx")
    types = graph_types(tmp_path / "fcn8s.onnx")
    inferred = onnx.shape_inference.infer_shapes(proto).graph
    told = {v.name: v.type.tensor_type.elem_type for v in (*inferred.value_info, *inferred.output)}
    codes = {"float16": onnx.TensorProto.FLOAT16, "float32": onnx.TensorProto.FLOAT}
    assert {name for name in told if types.values[name] in codes} == {
        name for name in told if told[name] in codes.values()
    }

    world, trt, network = _parsed(tmp_path / "fcn8s.onnx")
    held = hold(trt, network, types)
    kernels = [held[layer.name] for layer in world.layers if layer.type in KERNELS]
    expected = [layer.kind for layer in layers_of(proto)]
    assert kernels == expected and expected.count("fp32") == 1, "the proof on the card counts the same types"
    for node in proto.graph.node:
        wanted = {code: name for name, code in (("fp16", codes["float16"]), ("fp32", codes["float32"]))}.get(
            told[node.output[0]]
        )
        if node.op_type == "ArgMax":
            wanted = "fp32"  # its result is int64, and its logits are float32
        assert held.get(node.name) == (None if node.op_type == "Cast" else wanted), node.name


def test_fcn8s_in_int8_is_placed_by_its_pairs(graph_of: Callable[[str], Any], tiny_card: Any, tmp_path: Path) -> None:
    proto = graph_of("mask")
    lower_opset(proto, 17)
    images = np.random.default_rng(0).integers(0, 256, (2, *tiny_card.input_size_hw, 3), dtype=np.uint8)
    low = with_card(
        int8_from_onnx(proto, list(images), "min-max"),
        tiny_card.changed(precision="int8", head="mask"),
        newest_opset=17,
    )
    onnx.save(low, tmp_path / "fcn8s.onnx")
    types = graph_types(tmp_path / "fcn8s.onnx")
    assert types.quantised and not types.holds("float16")
    world, trt, network = _parsed(tmp_path / "fcn8s.onnx")
    assert hold(trt, network, types) == {}
    allow(trt, trt.Builder(None).create_builder_config(), types)
    assert world.named("set_flag") == [("INT8",)]
    kinds = [layer.type.name for layer in world.layers]
    assert kinds.count("QUANTIZE") > 10 and world.named("precision") == []
