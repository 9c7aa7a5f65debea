"""Parity that cannot be fooled: faults planted in what is exported, and in what is compared, are found out.

Beside each fault stands its control: the same machinery without the fault passes, so that it is the fault that is found.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the export extra is not installed")
torch = pytest.importorskip("torch", reason="the export extra is not installed")

from dlcv.export import export_model  # noqa: E402
from dlcv.export.graph import ExportGraph  # noqa: E402
from dlcv.runtime.card_reader import ONNX_KEY, read_card  # noqa: E402
from dlcv.runtime.comparison import Comparing  # noqa: E402
from dlcv.runtime.sessions import open_session  # noqa: E402

if TYPE_CHECKING:
    from click.testing import Result
    from numpy.typing import NDArray
    from torch import Tensor

Forward = Callable[[ExportGraph, "Tensor"], "Tensor"]
Plant = Callable[[Any], None]
NEVER = 6
"""A class that the model of the tests on NaN never says."""


# --- faults in the module that is exported ------------------------------------------------------------------------------


def _logits(graph: ExportGraph, image: Tensor) -> Tensor:
    x = image.to(torch.float32).permute(0, 3, 1, 2)
    logits: Tensor = graph.network((x - graph.mean) / graph.std)
    return logits


def _mask(logits: Tensor) -> Tensor:
    return logits.argmax(1).to(torch.float32).to(torch.uint8)


def _bgr(graph: ExportGraph, image: Tensor) -> Tensor:
    x = image.to(torch.float32).flip(-1).permute(0, 3, 1, 2)  # behind the cast: the contract alone would not see it
    return _mask(graph.network((x - graph.mean) / graph.std))


def _mean_and_std_in_0_to_1(graph: ExportGraph, image: Tensor) -> Tensor:
    x = image.to(torch.float32).permute(0, 3, 1, 2)
    return _mask(graph.network((x - graph.mean / 255) / (graph.std / 255)))


def _direct_cast(graph: ExportGraph, image: Tensor) -> Tensor:
    return _logits(graph, image).argmax(1).to(torch.uint8)


def _faithful(graph: ExportGraph, image: Tensor) -> Tensor:
    return _mask(_logits(graph, image))


FORWARDS = [
    (_bgr, 1, "argmax agreement 0."),
    (_mean_and_std_in_0_to_1, 1, "argmax agreement 0."),
    (_direct_cast, 2, "the mask's tail is Cast to UINT8 <- ArgMax"),
]


# --- faults in a graph --------------------------------------------------------------------------------------------------


def _after_cast(proto: Any, *nodes: Any, **constants: Any) -> None:
    """Puts `nodes` behind the first cast: they read `raw` and write `given`."""
    cast = proto.graph.node[0]
    assert cast.op_type == "Cast"
    _between(proto, 1, cast.output[0], nodes, constants)
    cast.output[0] = "raw"


def _before_argmax(proto: Any, *nodes: Any, **constants: Any) -> None:
    """Puts `nodes` before the mask's tail: they read `raw`, the logits, and write `given`."""
    place, argmax = next((k, node) for k, node in enumerate(proto.graph.node) if node.op_type == "ArgMax")
    maker = proto.graph.node[place - 1]
    assert list(maker.output) == [argmax.input[0]]
    _between(proto, place, argmax.input[0], nodes, constants)
    maker.output[0] = "raw"


def _between(proto: Any, place: int, result: str, nodes: tuple[Any, ...], constants: dict[str, Any]) -> None:
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items())
    for offset, node in enumerate(nodes):
        proto.graph.node.insert(place + offset, node)
        proto.graph.node[place + offset].output[:] = [result if name == "given" else name for name in node.output]


def _node(op: str, *inputs: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(op, ["raw", *inputs], ["given"], **attributes)


def _plant_nothing(proto: Any) -> None:
    _after_cast(proto, _node("Identity"))


def _plant_nothing_later(proto: Any) -> None:
    _before_argmax(proto, _node("Identity"))


def _plant_bgr(proto: Any) -> None:
    _after_cast(proto, _node("Gather", "order", axis=3), order=np.array([2, 1, 0]))


def _plant_unit(proto: Any) -> None:
    _after_cast(proto, _node("Div", "unit"), unit=np.float32(255))


def _plant_shift(proto: Any) -> None:
    """The mean of each value and its right neighbour; the last column stays."""
    _before_argmax(proto, _node("AveragePool", kernel_shape=[1, 2], pads=[0, 0, 0, 1]))


def _plant_swap(proto: Any) -> None:
    ends = {"first": [-1], "last": [-(2**31)], "axis": [0], "step": [-1]}
    _before_argmax(proto, _node("Slice", *ends), **{name: np.array(value) for name, value in ends.items()})


def _plant_constant(proto: Any) -> None:
    _before_argmax(proto, _node("Mul", "zero"), zero=np.float32(0))


CONTROLS = [_plant_nothing, _plant_nothing_later]
PLANTED = [_plant_bgr, _plant_unit, _plant_shift, _plant_swap, _plant_constant]


def _name(plant: Plant) -> str:
    return plant.__name__.removeprefix("_plant_")


# --- export -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("forward", "code", "sentence"), FORWARDS, ids=[forward.__name__[1:] for forward, _, _ in FORWARDS])  # fmt: skip
def test_export_finds_the_fault_and_writes_nothing(
    forward: Forward, code: int, sentence: str, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ExportGraph, "forward", forward)
    result = _export(tiny_checkpoint, tmp_path)
    _failed(result, code, sentence)
    assert os.listdir(tmp_path) == []


def test_export_control_the_same_machinery_without_a_fault(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(ExportGraph, "forward", _faithful)
    result = _export(tiny_checkpoint, tmp_path)
    assert result.exit_code == 0, result.stderr
    assert sorted(os.listdir(tmp_path)) == ["fcn8s.json", "fcn8s.onnx", "fcn8s.reference.npz"]


@pytest.mark.parametrize("plant", [*CONTROLS, *PLANTED], ids=_name)
def test_export_finds_the_fault_in_a_graph(plant: Plant, tiny_checkpoint: Path, tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """The faults of `dlcv-parity`'s tests, in the graph that torch's exporter gives."""
    _export_gives(monkeypatch, onnx.load(tiny_onnx), plant)
    result = _export(tiny_checkpoint, tmp_path)
    if plant in CONTROLS:
        assert result.exit_code == 0, result.stderr
        assert "fcn8s.onnx" in os.listdir(tmp_path)
        return
    _failed(result, 1, "argmax agreement 0.", "largest logit difference ")
    assert os.listdir(tmp_path) == []


def test_a_failed_export_leaves_an_earlier_one_untouched(tiny_checkpoint: Path, tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    before = {f"fcn8s.{end}": end.encode() for end in ("onnx", "json", "reference.npz", "plan")}
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    _export_gives(monkeypatch, onnx.load(tiny_onnx), _plant_bgr)
    _failed(_export(tiny_checkpoint, tmp_path), 1, "no file was written")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_export_of_a_model_that_always_says_one_class_proves_nothing(tiny_checkpoint: Path, tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """Graph and torch agree on every pixel, whatever else is wrong with the graph."""
    proto, run, out = onnx.load(tiny_onnx), tmp_path / "run", tmp_path / "out"
    out.mkdir()
    _change_weight(proto, "score.bias", lambda bias: bias[2:3].__iadd__(1000))
    _export_gives(monkeypatch, proto)
    _changed_checkpoint(tiny_checkpoint, run, lambda weights: weights["score.bias"][2].add_(1000))
    _failed(_export(run / "best.pt", out), 1, "nothing to compare: torch predicts 1 class on 6 tiles")
    assert os.listdir(out) == []


@pytest.fixture
def quiet_class(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint whose model never says class `NEVER`."""
    run = tmp_path / "quiet"
    _changed_checkpoint(tiny_checkpoint, run, lambda weights: weights["score.bias"][NEVER].sub_(100))
    return run / "best.pt"


@pytest.mark.parametrize("fault", [True, False], ids=["nan", "control"])
def test_export_finds_nan_that_the_mask_hides(fault: bool, quiet_class: Path, tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_scenes: list[NDArray[np.uint8]]) -> None:  # fmt: skip
    """One weight of the graph is NaN and its mask is torch's all the same: ONNX Runtime's ArgMax never takes a NaN."""
    proto, out = onnx.load(tiny_onnx), tmp_path / "out"
    out.mkdir()
    _change_weight(proto, "score.bias", lambda bias: bias[NEVER : NEVER + 1].__isub__(100))  # as in the checkpoint
    if fault:
        _change_weight(proto, "up8.weight", lambda weight: weight[NEVER, NEVER, 0].put(0, np.nan))
    _export_gives(monkeypatch, proto)
    result = _export(quiet_class, out)
    if not fault:
        assert result.exit_code == 0, result.stderr
        return
    _failed(result, 1, "logits are NaN or infinite")
    assert "argmax agreement" not in result.stderr, "the mask alone shows nothing"
    assert os.listdir(out) == []
    (out / "planted.onnx").write_bytes(proto.SerializeToString())
    from dlcv.train.session import open_checkpoint

    batch = np.stack(tiny_scenes)
    with (
        open_session(out / "planted.onnx", device="cpu", session="onnxruntime") as graph,
        open_checkpoint(quiet_class, device="cpu") as model,
    ):
        assert np.mean(graph.run(batch)["mask"] == model.run(batch)["mask"]) >= 0.9999


def test_export_finds_nan_in_the_checkpoint_itself(tiny_checkpoint: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    out.mkdir()
    _changed_checkpoint(tiny_checkpoint, run, lambda weights: weights["features.0.weight"][0, 0, 0, 0].fill_(float("nan")))  # fmt: skip
    _failed(_export(run / "best.pt", out), 1, "logits are NaN or infinite")
    assert os.listdir(out) == []


# --- parity -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference_npz(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    result = _export(tiny_checkpoint, folder)
    assert result.exit_code == 0, result.stderr
    return folder / "fcn8s.reference.npz"


@pytest.fixture
def references(reference_npz: Path, tiny_checkpoint: Path, tiny_onnx: Path) -> dict[str, Path]:
    return {"checkpoint": tiny_checkpoint, "npz": reference_npz, "onnx": tiny_onnx}


@pytest.mark.parametrize("reference", ["checkpoint", "npz", "onnx"])
@pytest.mark.parametrize("plant", [*CONTROLS, *PLANTED], ids=_name)
def test_parity_finds_the_fault(plant: Plant, reference: str, references: dict[str, Path], tiny_onnx: Path, tiny_data: Path, tmp_path: Path) -> None:  # fmt: skip
    candidate = _planted(tiny_onnx, tmp_path / "candidate.onnx", plant)
    result = _parity(references[reference], candidate, tiny_data, "--json", tmp_path / "parity.json")
    facts = json.loads((tmp_path / "parity.json").read_text())
    assert facts["tiles"] == 6
    assert facts["mean_iou"]["reference"] > 2 * facts["majority_mean_iou"], "there is something to lose"
    if plant in CONTROLS:
        assert result.exit_code == 0, result.stderr
        assert facts["passed"]
        assert facts["agreement"] >= 0.9999
        return
    _failed(result, 1, "parity failed: ", "argmax agreement 0.")
    assert not facts["passed"]
    assert facts["agreement"] < 0.999


def test_parity_finds_tiles_swapped_in_pairs(references: dict[str, Path], tiny_onnx: Path, tiny_data: Path, tmp_path: Path) -> None:  # fmt: skip
    """A fault that shows in batches only: with a single tile there is nothing to swap, and parity passes."""
    candidate, one = _planted(tiny_onnx, tmp_path / "candidate.onnx", _plant_swap), tmp_path / "one"
    one.mkdir()
    for path in tiny_data.glob("t0_*"):
        shutil.copyfile(path, one / path.name)
    assert _parity(references["npz"], candidate, one).exit_code == 0
    _failed(_parity(references["npz"], candidate, tiny_data), 1, "argmax agreement")


def test_a_reference_that_always_says_one_class_is_nothing_to_compare(tiny_onnx: Path, tiny_data: Path, tmp_path: Path) -> None:  # fmt: skip
    constant = _planted(tiny_onnx, tmp_path / "constant.onnx", _plant_constant)
    result = _parity(constant, constant, tiny_data)
    _failed(result, 1, "parity failed: nothing to compare: the reference predicts 1 class on 6 tiles; train it further")


def test_a_reference_no_better_than_the_majority_is_nothing_to_compare(tiny_onnx: Path, tiny_data: Path, tmp_path: Path) -> None:  # fmt: skip
    """The two agree on every pixel, and are wrong on most."""
    candidate = _planted(tiny_onnx, tmp_path / "swapped.onnx", _plant_other_names)
    _failed(_parity(candidate, candidate, tiny_data), 1, "is not above the majority predictor's")


def _plant_other_names(proto: Any) -> None:
    """Every class is called by another's name, so that next to no pixel is right."""
    _before_argmax(proto, _node("Gather", "order", axis=1), order=np.roll(np.arange(7), 1))


def test_no_tile_in_common_is_nothing_to_compare(references: dict[str, Path], tiny_onnx: Path, tiny_data: Path, tmp_path: Path) -> None:  # fmt: skip
    """A stored reference knows tiles by their hash: other tiles, even under the same names, are not compared."""
    other = tmp_path / "other"
    shutil.copytree(tiny_data, other)
    for path in other.glob("*_sat.jpg"):
        path.write_bytes(path.read_bytes() + b"\0")
    _failed(_parity(references["npz"], tiny_onnx, other), 1, "nothing to compare: no tile was compared")
    assert _parity(references["checkpoint"], tiny_onnx, other).exit_code == 0, "the control: the tiles can be read"


@pytest.mark.parametrize("fault", [True, False], ids=["nan", "control"])
def test_parity_finds_nan_in_logits(fault: bool, quiet_class: Path, tiny_graph: Callable[[str], Path], tiny_data: Path, tmp_path: Path) -> None:  # fmt: skip
    """A graph with logits whose one class is NaN where the reference never says it."""
    proto = onnx.load(tiny_graph("logits"))
    if fault:
        maker = next(node for node in proto.graph.node if "logits" in node.output)
        maker.output[0] = "raw"
        nan = np.zeros((7, 1, 1), np.float32)
        nan[NEVER] = np.nan
        _between(proto, len(proto.graph.node), "logits", (_node("Add", "nan"),), {"nan": nan})
    candidate = tmp_path / "candidate.onnx"
    onnx.save(proto, candidate)
    result = _parity(tiny_graph("logits"), candidate, tiny_data, "--min-agreement", 0, "--max-drop", 1)
    if fault:
        _failed(result, 1, "logits are NaN or infinite")
    else:
        assert result.exit_code == 0, result.stderr


def test_a_comparison_counts_what_is_not_finite() -> None:
    comparing = Comparing("segmentation", ("a", "b"))
    comparing.add_logits(np.array([1, np.nan, 3], np.float32), np.array([1.5, 2, np.inf], np.float32))
    comparing.add_logits(np.array([1], np.float32), np.array([1.25], np.float32))
    found = comparing.result()
    assert (found.not_finite, found.logit_difference) == (2, 0.5)


def test_a_graph_of_another_size_is_compared_on_its_own_windows(tiny_checkpoint: Path, tiny_graph: Callable[[str], Path], tiny_data: Path, tmp_path: Path) -> None:  # fmt: skip
    """The checkpoint takes the candidate's input size: at its own, other padding would count as disagreement."""
    proto = onnx.load(tiny_graph("logits"))
    for value in (*proto.graph.input, *proto.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value == 64:
                dim.dim_value = 96
    del proto.graph.value_info[:]
    card = read_card(tiny_graph("logits")).changed(input_size_hw=(96, 96))
    onnx.helper.set_model_props(proto, {ONNX_KEY: card.to_json()})
    onnx.save(proto, tmp_path / "larger.onnx")
    result = _parity(tiny_checkpoint, tmp_path / "larger.onnx", tiny_data, "--json", tmp_path / "parity.json")
    assert result.exit_code == 0, result.stderr
    facts = json.loads((tmp_path / "parity.json").read_text())
    assert facts["logit_difference"] < 1e-3  # sums of float32 in another order; logits are of the order of 1


# --- the machinery ------------------------------------------------------------------------------------------------------


def _export(checkpoint: Path, output: Path) -> Result:
    from dlcv.export.cli.export import main

    return _run(main, "--checkpoint", checkpoint, "--output", output, "--format", "onnx")


def _parity(reference: Path, candidate: Path, data: Path, *more: Any) -> Result:
    from dlcv.benchmarks.cli.parity import main

    return _run(main, "--reference", reference, "--candidate", candidate, "--data", data, "--device", "cpu", *more)


def _run(command: Any, *arguments: Any) -> Result:
    from click.testing import CliRunner

    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def _failed(result: Result, code: int, *sentences: str) -> None:
    last = result.stderr.splitlines()[-1]
    assert result.exit_code == code, result.stderr
    assert all(sentence in last for sentence in sentences), last


def _planted(graph: Path, path: Path, plant: Callable[[Any], None]) -> Path:
    proto = onnx.load(graph)
    plant(proto)
    onnx.checker.check_model(proto)
    onnx.save(proto, path)
    return path


def _export_gives(monkeypatch: pytest.MonkeyPatch, proto: Any, plant: Callable[[Any], None] = lambda _: None) -> None:
    """Export gets this graph from torch's exporter."""
    plant(proto)
    monkeypatch.setattr(export_model, "onnx_from_model", lambda model, card, **options: proto)


def _change_weight(proto: Any, name: str, change: Callable[[NDArray[np.float32]], Any]) -> None:
    """Changes the one initializer whose name ends in `name`, in place."""
    (found,) = (i for i in proto.graph.initializer if i.name.endswith(f".{name}"))
    array = onnx.numpy_helper.to_array(found).copy()
    change(array)
    found.CopyFrom(onnx.numpy_helper.from_array(array, found.name))


def _changed_checkpoint(checkpoint: Path, folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    """A copy of a run whose `best.pt` has changed weights."""
    from dataclasses import replace

    from dlcv.train.checkpoint import load_checkpoint, save_checkpoint

    shutil.copytree(checkpoint.parent, folder)
    loaded = load_checkpoint(checkpoint)
    weights = {name: weight.clone() for name, weight in loaded.weights.items()}
    change(weights)
    save_checkpoint(folder / "best.pt", replace(loaded, weights=weights))
