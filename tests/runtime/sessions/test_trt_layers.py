"""TensorRT's inspector as operators, on texts made up after the fields that NVIDIA's documentation names; and in a session of the double."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dlcv.runtime.sessions.trt_layers import operators_of


def layer(kind: str, given: str, count: int, sides: list[int], out: list[int], **more: Any) -> dict[str, Any]:
    return {
        "Name": "conv", "LayerType": kind, "Inputs": [{"Name": "x", "Dimensions": sides, "Format/Datatype": given}],
        "Outputs": [{"Name": "y", "Dimensions": out, "Format/Datatype": given}], "Weights": {"Type": "Half", "Count": count},
        **more,
    }  # fmt: skip


def only(one: dict[str, Any], batch: int = 2) -> Any:
    (found,) = operators_of(json.dumps({"Layers": [one, {"Name": "relu", "LayerType": "PointWise"}]}), batch) or ()
    return found


@pytest.mark.parametrize(
    ("words", "precision"),
    [
        ("Half", "fp16"), ("Channel major FP16 format where channel % 8 == 0", "fp16"), ("Float", "fp32"),
        ("Row major linear FP32", "fp32"), ("Int8 NC/32HW32", "int8"), ("BF16", "bf16"),
    ],
)  # fmt: skip
def test_the_inputs_type_is_the_layers(words: str, precision: str) -> None:
    found = only(layer("CaskConvolution", words, 27, [2, 3, 8, 8], [2, 4, 6, 6]))
    assert (found.precision, found.multiply_adds) == (precision, 27 * 36)


def test_a_format_that_depends_on_shapes_leaves_the_weights_type() -> None:
    one = layer("CaskConvolution", "N/A due to dynamic shapes", 27, [2, 3, 8, 8], [2, 4, 6, 6])
    assert only(one).precision == "fp16"
    assert only(one | {"Weights": {"Count": 27}}).precision == "unknown"


def test_tf32_shows_in_the_kernels_name_alone() -> None:
    name = "sm80_xmma_fprop_implicit_gemm_tf32f32_tf32f32_f32_nhwckrsc_nhwc"
    assert only(layer("CaskConvolution", "Float", 27, [2, 3, 8, 8], [2, 4, 6, 6], TacticName=name)).precision == "tf32"


def test_a_transposed_convolution_counts_by_its_input_and_a_product_once() -> None:
    assert only(layer("CaskDeconvolution", "Half", 48, [2, 3, 8, 8], [2, 4, 16, 16])).multiply_adds == 48 * 64
    assert only(layer("MatrixMultiply", "Half", 70, [2, 7], [2, 10])).multiply_adds == 70


@pytest.mark.parametrize("text", ["", "[]", '{"Layers": []}', '{"Layers": ["conv", "relu"]}'])
def test_a_plan_without_details_tells_nothing(text: str) -> None:
    assert operators_of(text, 1) is None
