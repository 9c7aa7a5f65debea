"""Faults to plant in a graph or a checkpoint, and the commands that have to find them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the export extra is not installed")
torch = pytest.importorskip("torch", reason="the export extra is not installed")

if TYPE_CHECKING:
    from click.testing import Result
    from numpy.typing import NDArray
    from torch import Tensor

Plant = Callable[[Any], None]
NEVER = 6
"""A class that the model of the tests on NaN never says."""


def after_cast(proto: Any, *nodes: Any, **constants: Any) -> None:
    """Puts `nodes` behind the first cast: they read `raw` and write `given`."""
    cast = proto.graph.node[0]
    assert cast.op_type == "Cast"
    between(proto, 1, cast.output[0], nodes, constants)
    cast.output[0] = "raw"


def before_argmax(proto: Any, *nodes: Any, **constants: Any) -> None:
    """Puts `nodes` before the mask's tail: they read `raw`, the logits, and write `given`."""
    place, argmax = next((k, node) for k, node in enumerate(proto.graph.node) if node.op_type == "ArgMax")
    maker = proto.graph.node[place - 1]
    assert list(maker.output) == [argmax.input[0]]
    between(proto, place, argmax.input[0], nodes, constants)
    maker.output[0] = "raw"


def between(proto: Any, place: int, result: str, nodes: tuple[Any, ...], constants: dict[str, Any]) -> None:
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items())
    for offset, node in enumerate(nodes):
        proto.graph.node.insert(place + offset, node)
        proto.graph.node[place + offset].output[:] = [result if name == "given" else name for name in node.output]


def node(op: str, *inputs: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(op, ["raw", *inputs], ["given"], **attributes)


def plant_nothing(proto: Any) -> None:
    after_cast(proto, node("Identity"))


def plant_nothing_later(proto: Any) -> None:
    before_argmax(proto, node("Identity"))


def plant_bgr(proto: Any) -> None:
    after_cast(proto, node("Gather", "order", axis=3), order=np.array([2, 1, 0]))


def plant_unit(proto: Any) -> None:
    after_cast(proto, node("Div", "unit"), unit=np.float32(255))


def plant_shift(proto: Any) -> None:
    """The mean of each value and its right neighbour; the last column stays."""
    before_argmax(proto, node("AveragePool", kernel_shape=[1, 2], pads=[0, 0, 0, 1]))


def plant_swap(proto: Any) -> None:
    ends = {"first": [-1], "last": [-(2**31)], "axis": [0], "step": [-1]}
    before_argmax(proto, node("Slice", *ends), **{name: np.array(value) for name, value in ends.items()})


def plant_constant(proto: Any) -> None:
    before_argmax(proto, node("Mul", "zero"), zero=np.float32(0))


CONTROLS = [plant_nothing, plant_nothing_later]
PLANTED = [plant_bgr, plant_unit, plant_shift, plant_swap, plant_constant]


def name_of(plant: Plant) -> str:
    return plant.__name__.removeprefix("plant_")


def quiet_checkpoint(checkpoint: Path, folder: Path) -> Path:
    """A checkpoint whose model never says class `NEVER`, in a run's copy."""
    changed_checkpoint(checkpoint, folder, lambda weights: weights["score.bias"][NEVER].sub_(100))
    return folder / "best.pt"


def export_to(checkpoint: Path, output: Path) -> Result:
    from dlcv.export.cli.export import main

    return _run(main, "--checkpoint", checkpoint, "--output", output, "--format", "onnx")


def parity_of(reference: Path, candidate: Path, data: Path, *more: Any) -> Result:
    from dlcv.benchmarks.cli.parity import main

    return _run(main, "--reference", reference, "--candidate", candidate, "--data", data, "--device", "cpu", *more)


def _run(command: Any, *arguments: Any) -> Result:
    from click.testing import CliRunner

    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def assert_failed(result: Result, code: int, *sentences: str) -> None:
    last = result.stderr.splitlines()[-1]
    assert result.exit_code == code, result.stderr
    assert all(sentence in last for sentence in sentences), last


def planted(graph: Path, path: Path, plant: Callable[[Any], None]) -> Path:
    proto = onnx.load(graph)
    plant(proto)
    onnx.checker.check_model(proto)
    onnx.save(proto, path)
    return path


def change_weight(proto: Any, name: str, change: Callable[[NDArray[np.float32]], Any]) -> None:
    """Changes the one initializer whose name ends in `name`, in place."""
    (found,) = (i for i in proto.graph.initializer if i.name.endswith(f".{name}"))
    array = onnx.numpy_helper.to_array(found).copy()
    change(array)
    found.CopyFrom(onnx.numpy_helper.from_array(array, found.name))


def changed_checkpoint(checkpoint: Path, folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> Path:
    """The checkpoint of a copy of a run, in `folder`, whose `best.pt` has changed weights."""
    from dataclasses import replace

    from dlcv.train.checkpoints.checkpoint import load_checkpoint, save_checkpoint

    shutil.copytree(checkpoint.parent, folder)
    loaded = load_checkpoint(checkpoint)
    weights = {name: weight.clone() for name, weight in loaded.weights.items()}
    change(weights)
    save_checkpoint(folder / "best.pt", replace(loaded, weights=weights))
    return folder / "best.pt"
