"""int8 with float16 for the rest: its types, what an engine is built from it, what it says, and what must stay in float32."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from dlcv.export.builders.build import build_plan
from dlcv.export.builders.options import BuildOptions
from dlcv.export.onnx_from_checkpoint import with_card
from dlcv.export.precision.calibration import int8_from_onnx
from dlcv.export.precision.int8_with_fp16 import LEAST_SCALE, int8_with_fp16, rest_of
from dlcv.export.precision.layers import layers_of
from dlcv.export.precision.low_precision import PrecisionSettings
from dlcv.export.verify import twin_session
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.card.reader import read_card
from dlcv.runtime.errors import CardError, DlcvError, UsageError, VerdictError
from dlcv.runtime.sessions import explain_session, open_session

Scenes = list[NDArray[np.uint8]]
Kinds = dict[str, int]


@pytest.fixture(scope="module")
def int8(tiny_graph: Callable[[str], Path], tiny_scenes: Scenes) -> onnx.ModelProto:
    return int8_from_onnx(onnx.load(tiny_graph("mask")), tiny_scenes)


@pytest.fixture(scope="module")
def combined(int8: onnx.ModelProto) -> onnx.ModelProto:
    return int8_with_fp16(int8)


def _kinds(proto: onnx.ModelProto) -> Kinds:
    graph = onnx.shape_inference.infer_shapes(proto).graph
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.value_info, *graph.output)}
    return kinds | {tensor.name: tensor.data_type for tensor in graph.initializer}


def test_what_is_not_int8_is_float16_between_float32_doors(combined: onnx.ModelProto) -> None:
    kinds, graph = _kinds(combined), combined.graph
    for node in graph.node:
        if node.op_type in ("Conv", "ConvTranspose", "Relu", "MaxPool", "Add", "DequantizeLinear"):
            assert kinds[node.output[0]] == TensorProto.FLOAT16, node.name
    for name in ("Transpose", "Sub", "Div"):
        assert [kinds[n.output[0]] for n in graph.node if n.op_type == name] == [TensorProto.FLOAT]
    (argmax,) = (node for node in graph.node if node.op_type == "ArgMax")
    assert kinds[argmax.input[0]] == TensorProto.FLOAT, "the logits, which verification reads"
    assert {layer.kind for layer in layers_of(combined)} == {"int8"}
    assert combined.opset_import[0].version == 19


def test_pairs_are_where_tensorrt_fuses(int8: onnx.ModelProto, combined: onnx.ModelProto) -> None:
    def behind_a_convolution(proto: onnx.ModelProto) -> set[str]:
        made = {node.output[0] for node in proto.graph.node if node.op_type == "Conv"}
        return {node.op_type for node in proto.graph.node if made & set(node.input)}

    assert behind_a_convolution(int8) == {"QuantizeLinear"}, "what ONNX Runtime needs"
    assert behind_a_convolution(combined) == {"Add", "Relu"}, "the bias, where there is one, and no pair"
    read_by_relu = [n.input[0] for n in combined.graph.node if n.op_type == "Relu"]
    dequantised = {n.output[0] for n in combined.graph.node if n.op_type == "DequantizeLinear"}
    assert len(read_by_relu) == 15 and not dequantised & set(read_by_relu)
    quantised = [(n.input[0], n.input[1]) for n in combined.graph.node if n.op_type == "QuantizeLinear"]
    assert len(quantised) == len(set(quantised)), "one pair serves all its readers"


def test_it_is_no_further_from_float32_than_int8_is(int8: onnx.ModelProto, combined: onnx.ModelProto, graph_of: Callable[[str], onnx.ModelProto], card_of: Callable[[str], ModelCard], tiny_scenes: Scenes, ort_run: Callable[..., NDArray[Any]]) -> None:  # fmt: skip
    """int8 loses most here: random weights, whose logits lie near each other. Float16 beside it must add next to nothing."""
    batch, card = np.stack(tiny_scenes), card_of("mask")
    sessions = [twin_session(proto, card) for proto in (graph_of("mask"), int8, combined)]
    expected, a, b = (session.run([name], {"image": batch})[0] for session, name in sessions)
    assert b.dtype == np.float32
    # a value between two levels falls to either side, so single values differ and their mean does not
    assert np.abs(b - expected).mean() < 1.1 * np.abs(a - expected).mean()
    first, second = (np.mean(ort_run(proto, batch) == expected.argmax(1)) for proto in (int8, combined))
    assert second > first - 0.02


def test_onnx_runtimes_optimiser_leaves_its_answers_alone() -> None:
    """It makes biases of layers int32 in the product of two scales; see `_biases_as_sums`."""
    tail = [
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("QuantizeLinear", ["r", "s", "z"], ["rq"]),
        helper.make_node("DequantizeLinear", ["rq", "s", "z"], ["out"]),
    ]
    proto = int8_with_fp16(_small(9.8e-7, 5.0, tail))
    batch, found = np.full((1, 3, 4, 4), 5, np.uint8), []
    for level in (ort.GraphOptimizationLevel.ORT_ENABLE_ALL, ort.GraphOptimizationLevel.ORT_DISABLE_ALL):
        options = ort.SessionOptions()
        options.graph_optimization_level, options.log_severity_level = level, 4
        session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        found.append(session.run(None, {"image": batch})[0])
    assert np.allclose(found[0], found[1], rtol=1e-3), "float16 has 11 bits"


def test_tensorrt_rtx_builds_it(combined: onnx.ModelProto, card_of: Callable[[str], ModelCard], tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheels for this Python")
    card = card_of("mask").changed(precision="int8", rest="fp16")
    path = tmp_path / "x.onnx"
    path.write_bytes(with_card(combined, card).SerializeToString())
    options = BuildOptions(builder="tensorrt-rtx", max_batch=2, compute_capabilities=("8.6",))
    with pytest.raises(VerdictError, match=r"in int8, 10\.1% in fp16, expected at least 90\.0% in int8; not so: node_convolution_2 \(deconvolution\)"):  # fmt: skip
        build_plan(path, tmp_path / "x.plan", card=card, options=options)
    # TensorRT-RTX has no int8 transposed convolution, and in so narrow a network they are a tenth of the work.
    report = build_plan(path, tmp_path / "x.plan", card=card, options=options, min_share=0.89)
    assert (read_card(report.path).precision, read_card(report.path).rest) == ("int8", "fp16")


def test_the_rest_is_counted(int8: onnx.ModelProto, combined: onnx.ModelProto) -> None:
    assert rest_of(combined).share == 1.0
    assert rest_of(combined).values["fp16"] >= rest_of(int8).values["fp32"] > 10_000
    rest_of(combined).require()
    with pytest.raises(VerdictError, match=r"^the rest of the graph is not in fp16, no file was written: 0\.0% of the"):
        rest_of(int8).require()


def _small(
    scale: float, bias: float, tail: list[onnx.NodeProto], shape: list[int | str] | None = None
) -> onnx.ModelProto:
    """image -> float32 -> pair -> convolution with one weight of 100 levels of `scale` -> `tail`, which ends in `out`."""
    constants = {
        "s": np.float32(0.05), "z": np.int8(0), "w": np.full((2, 3, 1, 1), 100, np.int8), "ws": np.full(2, scale, np.float32),
        "wz": np.zeros(2, np.int8), "b": np.full(2, bias, np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
        helper.make_node("Conv", ["d", "wd", "b"], ["c"]),
        *tail,
    ]
    graph = helper.make_graph(
        nodes, "x", [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 3, 4, 4])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, shape or ["N", 2, 4, 4])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _relu() -> list[onnx.NodeProto]:
    return [helper.make_node("Relu", ["c"], ["out"])]


def test_a_constant_that_float16_cannot_hold_stays(ort_run: Callable[..., NDArray[Any]]) -> None:
    batch = np.full((1, 3, 4, 4), 5, np.uint8)
    held, too_large = (int8_with_fp16(_small(0.01, bias, _relu())) for bias in (100.0, 1e5))
    assert _kinds(held)["c"] == TensorProto.FLOAT16
    assert _kinds(too_large)["c"] == TensorProto.FLOAT
    # a bias of 100 in float16 has steps of 1/16
    assert np.allclose(ort_run(held, batch), ort_run(_small(0.01, 100.0, _relu()), batch), atol=1 / 16)
    assert np.allclose(ort_run(too_large, batch), ort_run(_small(0.01, 1e5, _relu()), batch), rtol=1e-3)


@pytest.mark.parametrize("scale", [9.8e-7, 3e-5, 0.0123])
def test_weights_are_set_on_the_grid_of_the_rounded_scale(scale: float) -> None:
    """To float16 alone 9.8e-7 is 2.7 % less; with the level next to it the weight is right to half a level, of 100."""
    found = {t.name: numpy_helper.to_array(t) for t in int8_with_fp16(_small(scale, 0.0, _relu())).graph.initializer}
    (weight,), (levels,) = ([v for n, v in found.items() if n.startswith(start)] for start in ("ws_", "w_"))
    assert weight.dtype == np.float16 and levels.dtype == np.int8
    assert np.allclose(weight.astype(np.float64).reshape(2, 1, 1, 1) * levels, 100 * scale, rtol=0.006)


def test_no_scale_becomes_zero() -> None:
    found = {t.name: numpy_helper.to_array(t) for t in int8_with_fp16(_small(1e-9, 0.0, _relu())).graph.initializer}
    (weight,), (levels,) = ([v for n, v in found.items() if n.startswith(start)] for start in ("ws_", "w_"))
    assert np.all(weight == np.float16(LEAST_SCALE)) and not levels.any()


def test_averages_over_images_and_probabilities_stay_in_float32() -> None:
    tail = [
        helper.make_node("GlobalAveragePool", ["c"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Softmax", ["flat"], ["p"]),
        helper.make_node("Add", ["p", "p"], ["out"]),
    ]
    kinds = _kinds(int8_with_fp16(_small(0.01, 0.0, tail, ["N", 2])))
    assert kinds["c"] == TensorProto.FLOAT16
    assert {kinds[name] for name in ("mean", "flat", "p", "out")} == {TensorProto.FLOAT}


def test_an_export_with_it(export: Callable[..., Any], tiny_classifier: Callable[[int], Path], tmp_path: Path) -> None:
    options = ("--precision", "int8", "--rest", "fp16", "--format", "onnx", "--output", tmp_path, "--max-drop", 0.1)
    result = export("--model", "cnn3", "--checkpoint", tiny_classifier(0), *options)
    assert result.exit_code == 0, result.stderr
    card, facts = read_card(tmp_path / "cnn3.onnx"), json.loads((tmp_path / "cnn3.json").read_text())
    assert (card.precision, card.rest) == ("int8", "fp16")
    assert "of the values outside int8 in fp16" in card.proof
    assert facts["proof"]["share"] >= 0.9
    assert onnx.load(tmp_path / "cnn3.onnx").opset_import[0].version == 19
    assert f"; ONNX Runtime {ort.__version__} on a CPU runs 100.0% in fp32" in card.proof
    assert "does not run it" not in card.proof
    _says_what_it_computes(tmp_path / "cnn3.onnx")
    _is_not_chosen_as_if_it_were_int8(tmp_path / "cnn3.onnx", card)


def _says_what_it_computes(path: Path) -> None:
    with open_session(path, device="cpu", session="onnxruntime") as session:
        assert session.computes == "fp32"
        assert session.description.endswith("on CPU, in fp32, none of it in int8: its int8 kernels take no float16 beside them")  # fmt: skip
        executed = session.executed()
    assert executed is not None and executed.share("fp32") == 1, "the graph's shapes tell the work of each layer"


def _is_not_chosen_as_if_it_were_int8(path: Path, card: ModelCard) -> None:
    why = "ONNX Runtime computes int8 beside float16 (--rest fp16) in float32 on a CPU, several times slower than the float32 graph; "
    told = {verdict.candidate.name: verdict for verdict in explain_session(path, device="cpu")}
    assert not told["onnxruntime on cpu"].chosen and told["onnxruntime on cpu"].reason.startswith(why)
    if importlib.util.find_spec("openvino") is None:
        with pytest.raises(DlcvError, match="ask for it with --session onnxruntime, install OpenVINO, "):
            open_session(path, device="cpu")
        return
    assert told["openvino on cpu"].chosen and told["openvino on cpu"].reason.endswith(", in int8")
    assert re.search(r"; OpenVINO \S+ on CPU runs [\d.]+% in int8", card.proof)


def test_a_rest_without_int8_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^--rest fp16 with --precision fp32; --rest fp16 is for --precision int8$"):
        PrecisionSettings(rest="fp16").check()


def test_a_card_with_a_rest_but_no_int8_is_refused(tiny_card: ModelCard) -> None:
    with pytest.raises(CardError, match="rest 'fp16' with precision fp32, expected fp32, or fp16 with int8"):
        tiny_card.changed(rest="fp16")
    assert "rest" not in tiny_card.to_dict()
