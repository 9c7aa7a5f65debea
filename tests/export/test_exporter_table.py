"""The tests' own short cut (`exporter_table.py`): torch's exporter gets the same table as without it, and its own each time."""

from __future__ import annotations

import importlib
from typing import Any

import exporter_table
import torch


def _functions(registry: Any) -> dict[Any, list[Any]]:
    return {target: [one.onnx_function for one in found] for target, found in registry.functions.items()}


def test_an_export_gets_the_table_that_torch_reads() -> None:
    module, known = importlib.import_module(exporter_table.MODULE), exporter_table.operators()
    exporter_table.read_once()
    exporter_table.read_once()
    registry = module.ONNXRegistry
    first, second = (registry.from_torchlib(opset_version=18) for _ in range(2))
    real = registry.from_torchlib.__wrapped__(registry, opset_version=18)
    assert not hasattr(registry.from_torchlib.__wrapped__, "__wrapped__"), "put in its place once"
    assert _functions(first) == _functions(second) == _functions(real)
    assert {k: v for k, v in vars(first).items() if k != "functions"} == {
        k: v for k, v in vars(real).items() if k != "functions"
    }
    torch.library.define("dlcv_test::nothing", "(Tensor x) -> Tensor")
    assert registry.from_torchlib(opset_version=18).functions.keys() == real.functions.keys()
    assert exporter_table.operators() == known + 1, "a new operator has the table read anew"
    target = next(iter(first.functions))
    first.functions[target].clear()
    assert second.functions[target], "what one export adds to its table is not in another's"
    assert registry.from_torchlib(opset_version=13).opset_version == 13
