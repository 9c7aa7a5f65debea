"""What TensorRT's inspector says of a plan's layers, as operators with their precision.

A layer shows its types only in a plan that was built with `ProfilingVerbosity.DETAILED`; otherwise it is a bare name. Where a
batch varies, full TensorRT tells them for a context that knows its shapes only; without one it writes `N/A due to dynamic shapes`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dlcv.runtime.sessions.executed import Operator

INPUT = "image"
"""The one input of a plan."""
PRECISIONS = {"float": "fp32", "half": "fp16", "bf16": "bf16", "int8": "int8", "tf32": "tf32", "fp8": "fp8"}
"""TensorRT's words -> ours."""
UNKNOWN = "unknown"
"""Of a layer whose type is told in no word of `PRECISIONS`."""
_WORDS = {"fp32": "float", "fp16": "half", "bfloat16": "bf16", "i8": "int8"}
"""What the text before `format` in `FP32 NCHW format` may be beside them: releases differ."""


def inspected(trt: Any, engine: Any, context: Any, shape: tuple[int, ...]) -> tuple[Operator, ...] | None:
    """The layers with weights of an opened plan.

    Args:
        trt: the TensorRT library.
        engine: the opened plan.
        context: of the engine, which nobody else uses meanwhile; its shape is set. None where the engine tells by itself.
        shape: of the input, (N, H, W, 3).

    Returns:
        None where the plan was built without its layers' details.
    """
    inspector = engine.create_engine_inspector()
    if context is not None and context.set_input_shape(INPUT, shape):
        inspector.execution_context = context
    return operators_of(inspector.get_engine_information(trt.LayerInformationFormat.JSON), shape[0])


def operators_of(text: str, batch: int) -> tuple[Operator, ...] | None:
    """The layers with weights, from the inspector's JSON.

    Args:
        text: of `get_engine_information`.
        batch: that the dimensions in it are of.

    Returns:
        None where it tells no layer's type.
    """
    try:
        found = json.loads(text)
    except ValueError:
        return None
    layers = found.get("Layers", []) if isinstance(found, dict) else []
    detailed = [layer for layer in layers if isinstance(layer, dict)]
    if not detailed:
        return None
    return tuple(operator for layer in detailed if (operator := _operator(layer, batch)) is not None)


def _operator(layer: Mapping[str, Any], batch: int) -> Operator | None:
    weights, inputs, outputs = (layer.get(name) for name in ("Weights", "Inputs", "Outputs"))
    if not isinstance(weights, dict) or not weights.get("Count") or not inputs or not outputs:
        return None
    given, out = inputs[0], outputs[0]
    transposed = (
        "deconv" in str(layer.get("LayerType", "")).lower() or "deconv" in str(layer.get("ParameterType", "")).lower()
    )
    sides = (given if transposed else out).get("Dimensions", [])
    return Operator(
        str(layer.get("Name", "")), str(layer.get("LayerType", "")), _precision(layer, given),
        int(weights["Count"]) * _positions(sides, batch),
    )  # fmt: skip


def _precision(layer: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """The input's type, else that of the weights; of a float layer whose kernel's name tells TF32, that."""
    weights = str(layer.get("Weights", {}).get("Type", ""))
    words = f"{given.get('Format/Datatype', '')} {weights}".replace("-", " ").split()
    named = [_WORDS.get(word.lower(), word.lower()) for word in words]
    precision = next((PRECISIONS[word] for word in named if word in PRECISIONS), UNKNOWN)
    return "tf32" if precision == "fp32" and "tf32" in str(layer.get("TacticName", "")).lower() else precision


def _positions(sides: Sequence[int], batch: int) -> int:
    """Places of one image at which the kernel is applied: height times width, 1 of a matrix product."""
    total = 1
    for side in [abs(int(side)) for side in sides][2:]:
        total *= side
    return total
