"""The proof of precision by itself: it counts what a calculation on paper gives, and is fooled by no label."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dlcv.export.precision.calibration import int8_by_ranges, int8_from_onnx, ranges_of
from dlcv.export.precision.layer_names import layer_name, makers_of
from dlcv.export.precision.layers import Layer, layers_of
from dlcv.export.precision.proof import Proof, prove
from dlcv.export.precision.proof_onnxruntime import operators_of, optimised_graph
from dlcv.runtime.errors import ExportError, VerdictError

GraphOf = Callable[[str], onnx.ModelProto]


def _graph(nodes: list[Any], weights: dict[str, Any], shape: list[int | str]) -> onnx.ModelProto:
    """x float (N, ...) -> y."""
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", *["?"] * len(shape)])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _conv(weight: Any, **options: Any) -> onnx.ModelProto:
    return _graph([helper.make_node("Conv", ["x", "w"], ["y"], "conv", **options)], {"w": weight}, [4, 10, 12])


@pytest.mark.parametrize(
    ("proto", "expected"),
    [
        (_conv(np.zeros((8, 4, 3, 3), np.float32), pads=[1, 1, 1, 1]), 8 * 10 * 12 * 4 * 9),
        (_conv(np.zeros((8, 2, 3, 3), np.float32), group=2, strides=[2, 2], pads=[1, 1, 1, 1]), 8 * 5 * 6 * 2 * 9),
        (
            _graph(
                [helper.make_node("ConvTranspose", ["x", "w"], ["y"], "up", strides=[2, 2])],
                {"w": np.zeros((4, 3, 2, 2), np.float32)}, [4, 10, 12],
            ),
            4 * 10 * 12 * 3 * 4,
        ),
        (
            _graph([helper.make_node("Gemm", ["x", "w"], ["y"], "fc", transB=1)], {"w": np.zeros((5, 7), np.float32)}, [7]),
            5 * 7,
        ),
        (_graph([helper.make_node("MatMul", ["x", "w"], ["y"], "mm")], {"w": np.zeros((7, 5), np.float32)}, [7]), 5 * 7),
    ],
    ids=["conv", "grouped", "transposed", "gemm", "matmul"],
)  # fmt: skip
def test_multiply_adds_are_those_of_the_formula(proto: onnx.ModelProto, expected: int) -> None:
    (layer,) = layers_of(proto)
    assert (layer.multiply_adds, layer.kind) == (expected, "fp32")


def test_shapes_that_are_not_known_are_told() -> None:
    proto = _conv(np.zeros((8, 4, 3, 3), np.float32))
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "H"
    proto.graph.input[0].type.tensor_type.shape.dim[2].ClearField("dim_value")
    with pytest.raises(ExportError, match=r"^the multiply-adds of conv \(Conv\) cannot be counted: its shapes are not known$"):  # fmt: skip
        layers_of(proto)


def test_a_float_graph_is_float_and_no_other_label_holds(graph_of: GraphOf) -> None:
    proof = prove(graph_of("mask"), "fp32")
    assert proof.problems() == []
    assert set(proof.multiply_adds) == {"fp32"} and proof.share == 1
    assert len(proof.layers) == 21, "18 convolutions and 3 transposed ones"
    for label in ("fp16", "bf16", "int8"):
        with pytest.raises(VerdictError, match=rf"^the graph is not in {label}, no file was written: 0\.0% of the graph's multiply-adds are in {label}, .*Conv, fp32, .* and 16 more"):  # fmt: skip
            prove(graph_of("mask"), label).require()


def test_an_fp32_label_on_fp16_convolutions_is_caught() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["low"], to=TensorProto.FLOAT16),
        helper.make_node("Conv", ["low", "w"], ["out"], "conv"),
        helper.make_node("Cast", ["out"], ["y"], to=TensorProto.FLOAT),
    ]
    proto = _graph(nodes, {"w": np.zeros((8, 4, 1, 1), np.float16)}, [4, 10, 12])
    with pytest.raises(VerdictError, match=r"0\.0% .* in fp32, expected at least 100\.0%; not so: conv \(Conv, fp16, 100\.0%\)$"):  # fmt: skip
        prove(proto, "fp32").require()
    assert prove(proto, "fp16").problems() == []


def test_int8_weights_alone_are_no_int8_layer() -> None:
    """Such a graph is small, and computes in float32."""
    nodes = [
        helper.make_node("DequantizeLinear", ["w8", "scale"], ["w"]),
        helper.make_node("Conv", ["x", "w"], ["y"], "conv"),
    ]
    proto = _graph(nodes, {"w8": np.ones((8, 4, 1, 1), np.int8), "scale": np.float32(0.1)}, [4, 10, 12])
    proof = prove(proto, "int8")
    assert proof.multiply_adds == {"fp32 x int8": 8 * 4 * 120}
    assert [problem.split(",")[0] for problem in proof.problems()] == [
        "0.0% of the graph's multiply-adds are in int8",
        f"ONNX Runtime {onnxruntime_version()} runs 0.0% of the multiply-adds in int8",
    ]


def test_int8_in_the_graph_that_a_session_runs_in_float_is_caught(graph_of: GraphOf, tiny_scenes: list[Any]) -> None:
    """Without the pairs behind them, ONNX Runtime leaves convolutions in float32, whatever their inputs are."""
    proto = int8_from_onnx(graph_of("mask"), tiny_scenes, "min-max")
    assert prove(proto, "int8").problems() == []
    makers = {name: node for node in proto.graph.node for name in node.output}
    for node in [n for n in proto.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in makers]:
        quantize = makers[node.input[0]]
        if makers[quantize.input[0]].op_type == "Conv":
            for user in proto.graph.node:
                user.input[:] = [quantize.input[0] if name == node.output[0] else name for name in user.input]
            proto.graph.node.remove(node)
            proto.graph.node.remove(quantize)
    proof = prove(proto, "int8")
    assert proof.share > 0.99, "the graph alone would pass"
    assert proof.ran_share == 0
    with pytest.raises(VerdictError, match=r"ONNX Runtime \S+ runs 0\.0% of the multiply-adds that it could in int8, expected at least 90\.0%; not so: .* and 13 more$"):  # fmt: skip
        proof.require()


def test_a_session_shows_what_it_made_of_a_graph(graph_of: GraphOf) -> None:
    found = operators_of(optimised_graph(graph_of("mask")))
    assert found is not None
    assert sum(n for key, n in found.items() if key.endswith("Conv fp32")) == 18
    assert found["ConvTranspose fp32"] == 3


def test_float_operators_of_two_types_leave_unknown_what_ran_and_the_card_says_so() -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["w8", "scale"], ["w"]),
        helper.make_node("Conv", ["x", "w"], ["out"], "conv"),
        helper.make_node("Cast", ["out"], ["wide"], to=TensorProto.DOUBLE),
        helper.make_node("MatMul", ["wide", "m"], ["product"], "mm"),
        helper.make_node("Cast", ["product"], ["y"], to=TensorProto.FLOAT),
    ]
    weights = {"w8": np.ones((8, 4, 1, 1), np.int8), "scale": np.float32(0.1), "m": np.ones((12, 12))}
    proof = prove(_graph(nodes, weights, [4, 10, 12]), "int8")
    assert proof.ran_share is None
    assert proof.sentence().endswith(f"; what ONNX Runtime {onnxruntime_version()} on a CPU runs is not known")
    assert proof.to_dict()["onnxruntime_int8_share"] is None


@pytest.mark.parametrize("take", [True, False])
def test_a_restored_layer_takes_no_other_out_of_int8(
    take: bool, classifier_graph: onnx.ModelProto, tiny_crops: Any
) -> None:
    """Three convolutions and a linear layer: by count two of three were enough, and the third is most of the work."""
    ranges = ranges_of(classifier_graph, tiny_crops, "min-max")
    makers = makers_of(classifier_graph.graph)
    (fc,) = (
        node.name for node in classifier_graph.graph.node if node.op_type == "Gemm" and layer_name(node, makers) == "fc"
    )
    proof = prove(int8_by_ranges(classifier_graph, ranges, [fc], take_from_layers=take), "int8")
    assert proof.share > 0.99, "the graph alone would pass"
    assert {layer.name: layer.ran for layer in proof.layers} == {
        "conv1": "int8", "conv2": "int8", "conv3": "fp32" if take else "int8", "fc": "fp32",
    }  # fmt: skip
    largest = next(layer.multiply_adds for layer in proof.layers if layer.name == "conv3")
    total = sum(layer.multiply_adds for layer in proof.layers)
    if take:
        assert proof.ran_share == pytest.approx(1 - largest / total, abs=1e-3)
        with pytest.raises(
            VerdictError, match=r"that it could in int8, expected at least 90\.0%; not so: conv3 \(Conv, fp32, "
        ):
            proof.require()
    else:
        assert proof.problems() == []
    assert proof.sentence().endswith(f" on CPU runs {proof.ran_share:.1%} in int8")


LAYERS = (Layer("a", "Conv", "int8", 90), Layer("b", "ConvTranspose", "fp32", 10))


def test_a_session_is_held_to_what_it_could_run_and_to_half_of_all() -> None:
    small, large = Layer("a", "Conv", "int8", 10, "int8"), Layer("b", "Conv", "int8", 90, "fp32")
    by = f"ONNX Runtime {onnxruntime_version()} runs"
    assert Proof("int8", (small, large), {}, 0.9).problems() == [
        f"{by} 10.0% of the multiply-adds that it could in int8, expected at least 90.0%; not so: b (Conv, fp32, 90.0%)"
    ]
    transposed = Layer("up", "ConvTranspose", "int8", 9, "fp32", may_be_int8=False)
    assert Proof("int8", (small, transposed), {}, 0.9).problems() == []
    larger = Layer("up", "ConvTranspose", "int8", 30, "fp32", may_be_int8=False)
    assert Proof("int8", (small, larger), {}, 0.9).problems() == [
        f"{by} 25.0% of the multiply-adds in int8, and a session with less than 50% is not opened; not so: up (ConvTranspose, fp32, 75.0%)"
    ]


def test_the_share_and_the_bound() -> None:
    proof = Proof("int8", LAYERS, {"QLinearConv int8": 1, "ConvTranspose fp32": 1}, 0.9)
    assert (proof.share, proof.problems()) == (0.9, [])
    assert Proof("int8", LAYERS, proof.session, 0.91).problems() == [
        "90.0% of the graph's multiply-adds are in int8, expected at least 91.0%; not so: b (ConvTranspose, fp32, 10.0%)"
    ]
    assert proof.to_dict()["multiply_adds_by_operator"] == {"Conv int8": 90, "ConvTranspose fp32": 10}
    by = f"ONNX Runtime {onnxruntime_version()} on a CPU"
    assert proof.sentence() == f"90.0% of the graph's multiply-adds in int8; what {by} runs is not known"
    assert (
        replace(proof, session=None).sentence() == f"90.0% of the graph's multiply-adds in int8; {by} does not run it"
    )
    ran = Proof("int8", tuple(replace(x, ran=x.kind) for x in LAYERS), proof.session, 0.9)
    assert (
        ran.sentence()
        == f"90.0% of the graph's multiply-adds in int8; ONNX Runtime {onnxruntime_version()} on CPU runs 90.0% in int8"
    )
    assert (ran.to_dict()["onnxruntime_int8_share"], proof.to_dict()["onnxruntime_int8_share"]) == (0.9, None)
    assert Proof("fp16", (), None, 0.95).share == 0, "a graph without layers proves nothing"


def onnxruntime_version() -> str:
    import onnxruntime

    return str(onnxruntime.__version__)
