"""Graphs as OpenVINO computes them rightly: values that are joined are quantised one by one, and not after they were joined.

OpenVINO 2026.4.1 gives wrong answers, without a word, for a Concat whose result is quantised for an int8 convolution (seen on a CPU with
AVX-512 VNNI and without AMX; off by a quarter of the largest value, whatever the numbers of channels). With a scale of all values, as here, the order makes no
difference to what the graph says.
"""

from __future__ import annotations

from typing import Any

_QUANTISED = "FakeQuantize"


def quantise_before_joins(model: Any, operators: Any) -> int:
    """Moves the quantisation of joined values before the Concat that joins them.

    Args:
        model: an `openvino.Model` as it was read; is changed.
        operators: the module of OpenVINO's operators.

    Returns:
        How many were moved.
    """
    moved = 0
    for join in model.get_ordered_ops():
        if join.get_type_name() != "Concat":
            continue
        for port in list(join.output(0).get_target_inputs()):
            fake = port.get_node()
            if fake.get_type_name() != _QUANTISED or not _one_scale(fake):
                continue
            levels, bounds = fake.get_attributes()["levels"], fake.input_values()[1:]
            for port_after in list(fake.output(0).get_target_inputs()):
                convert = port_after.get_node()
                if convert.get_type_name() != "Convert":
                    continue
                kind = convert.get_output_element_type(0)
                parts = [
                    operators.convert(operators.fake_quantize(value, *bounds, levels), kind.to_string())
                    for value in join.input_values()
                ]
                joined = operators.concat(parts, join.get_attributes()["axis"])
                joined.set_friendly_name(f"{join.get_friendly_name()}/quantised")
                convert.output(0).replace(joined.output(0))
                moved += 1
    return moved


def _one_scale(fake: Any) -> bool:
    return all(value.get_partial_shape().is_static and _size(value) == 1 for value in fake.input_values()[1:])


def _size(value: Any) -> int:
    size = 1
    for side in value.get_shape():
        size *= int(side)
    return size
