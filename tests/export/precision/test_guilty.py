"""Each layer's own loss: as numpy calculates it by hand, without that of the layers before it, and overflow wherever it stands."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from attention import CARD, Attention
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from dlcv.export.onnx_from_checkpoint import onnx_from_model
from dlcv.export.precision.calibration import int8_from_onnx
from dlcv.export.precision.guilty import Guilty, guilty_layers
from dlcv.export.precision.layer_names import layer_name, makers_of
from dlcv.export.precision.layers import Layer, layers_of

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(4, 3)).astype(np.float32), RNG.normal(size=(5, 4)).astype(np.float32)
WINDOWS = [RNG.integers(0, 256, (6, 8, 3), np.uint8) for _ in range(3)]
SAME_DB = 0.01
"""Sums of float32 in another order."""


def _graph(a: NDArray[np.float32], b: NDArray[np.float32], *behind_a: Any) -> onnx.ModelProto:
    """image -> float -> 1 x 1 convolution `a` -> Relu -> `behind_a` -> 1 x 1 convolution `b` -> y."""
    last = behind_a[-1].output[0] if behind_a else "relu"
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["chw"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["chw", "network.a.weight"], ["conv"], "node_1"),
        helper.make_node("Relu", ["conv"], ["relu"]),
        *behind_a,
        helper.make_node("Conv", [last, "network.layer.b.weight"], ["y"], "node_2"),
    ]
    weights = {"network.a.weight": a[..., None, None], "network.layer.b.weight": b[..., None, None]}
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 6, 8, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", len(b), 6, 8])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _all_in(precision: str, proto: onnx.ModelProto) -> list[Layer]:
    return [Layer(x.name, x.operator, precision, x.multiply_adds) for x in layers_of(proto)]


def _low(x: Any) -> Any:
    return np.asarray(x).astype(np.float16).astype(np.float32)


def _snr_db(exact: Any, low: Any) -> float:
    return float(10 * np.log10((exact.astype(float) ** 2).sum() / ((exact - low).astype(float) ** 2).sum()))


def test_a_layer_has_the_name_that_the_model_gives_it() -> None:
    graph = _graph(A, B).graph
    assert [layer_name(n, makers_of(graph)) for n in graph.node if n.op_type == "Conv"] == ["a", "b"]
    graph.node[2].input[1] = "val_3"
    assert layer_name(graph.node[2], makers_of(graph)) == "node_1"


def test_the_loss_is_that_of_the_layer_by_itself() -> None:
    """By hand in numpy: each layer on float32's own input."""
    proto = _graph(A, B)
    found = {x.name: x for x in guilty_layers(proto, proto, "fp16", _all_in("fp16", proto), WINDOWS)}
    x = np.stack(WINDOWS).astype(np.float32).reshape(-1, 3)
    a = x @ A.T
    hidden = np.maximum(a, 0)
    assert found["a"].snr_db == pytest.approx(_snr_db(a, _low(_low(x) @ _low(A).T)), abs=SAME_DB)
    assert found["b"].snr_db == pytest.approx(_snr_db(hidden @ B.T, _low(_low(hidden) @ _low(B).T)), abs=SAME_DB)
    assert found["a"].share == pytest.approx(12 / 32)
    assert not any(layer.overflows for layer in found.values())


def test_what_overflows_comes_first_and_names_both_sides() -> None:
    proto = _graph(A * 1e4, B / 1e4)
    found = guilty_layers(proto, proto, "fp16", _all_in("fp16", proto), WINDOWS)
    assert {x.name for x in found if x.overflows} == {"a", "b"}
    assert found[0].largest > 65504
    assert "values up to " in found[0].sentence and found[0].sentence.endswith(" overflow)")


def test_an_overflow_between_two_layers_is_laid_to_the_one_before() -> None:
    """A sum that no layer makes: `a` gives what fits, the Add behind it does not; `b` reads it."""
    proto = _graph(A, B, *(helper.make_node("Mul", ["relu", "relu"], ["squared"]), helper.make_node("Mul", ["squared", "relu"], ["cubed"])))  # fmt: skip
    assert {x.name for x in guilty_layers(proto, proto, "fp16", _all_in("fp16", proto), WINDOWS) if x.overflows} == {"a", "b"}  # fmt: skip


def test_int8_is_measured_with_the_ranges_of_its_graph() -> None:
    proto = _graph(A, B)
    low = int8_from_onnx(proto, WINDOWS, "min-max")
    good = {x.name: x for x in guilty_layers(proto, low, "int8", layers_of(low), WINDOWS)}
    assert all(20 < x.snr_db < 60 and x.clipped == 0 for x in good.values()), "7 bits are about 42 dB"
    dark = [window // 8 for window in WINDOWS]
    low = int8_from_onnx(proto, dark, "min-max")
    bad = {x.name: x for x in guilty_layers(proto, low, "int8", layers_of(low), WINDOWS)}
    assert all(x.clipped > 0.3 and x.snr_db < 6 for x in bad.values())
    assert "% of its input beyond the calibrated range)" in bad["a"].sentence


def test_a_product_of_two_values_has_no_weight_and_is_measured_all_the_same() -> None:
    torch.manual_seed(0)
    proto = onnx_from_model(Attention().eval(), CARD.changed(size_range=None))
    windows = [RNG.integers(0, 256, (16, 24, 3), np.uint8) for _ in range(3)]
    low = int8_from_onnx(proto, windows, "min-max")
    products = [layer.name for layer in layers_of(low) if layer.operator == "MatMul"]
    found = {x.name: x for x in guilty_layers(proto, low, "int8", layers_of(low), windows)}
    assert len(products) == 2 and all(10 < found[name].snr_db < 80 for name in products)
    dark = int8_from_onnx(proto, [window // 8 for window in windows], "min-max")
    worse = {x.name: x for x in guilty_layers(proto, dark, "int8", layers_of(dark), windows)}
    assert all(worse[name].snr_db < found[name].snr_db for name in products), "its values are clipped"


def test_an_outlier_is_the_fault_of_the_layer_that_reads_it() -> None:
    a, b = A.copy(), B.copy()
    a[0] *= 1000
    b[:, 0] /= 1000
    low = int8_from_onnx(proto := _graph(a, b), WINDOWS, "min-max")
    first, second = guilty_layers(proto, low, "int8", layers_of(low), WINDOWS)
    assert (first.name, second.name) == ("b", "a")
    assert second.snr_db - first.snr_db > 10


def test_a_layer_as_json() -> None:
    facts = Guilty("a", "n", "Conv", 0.5, -math.inf, largest=7e4, overflows=True).to_dict()
    assert facts == {"name": "a", "operator": "Conv", "share": 0.5, "overflows": True, "snr_db": None, "largest": 7e4}
