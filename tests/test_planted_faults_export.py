"""Export that cannot be fooled: faults planted in what is exported are found out; in what is compared: test_planted_faults_parity.py.

Beside each fault stands its control: the same machinery without the fault passes, so that it is the fault that is found.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the export extra is not installed")
torch = pytest.importorskip("torch", reason="the export extra is not installed")

from planted_faults import (  # noqa: E402
    CONTROLS,
    NEVER,
    PLANTED,
    Plant,
    assert_failed,
    change_weight,
    changed_checkpoint,
    export_to,
    name_of,
    plant_bgr,
    quiet_checkpoint,
)

from dlcv.export import export_model  # noqa: E402
from dlcv.export.graph import ExportGraph  # noqa: E402
from dlcv.runtime.sessions import open_session  # noqa: E402

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

Forward = Callable[[ExportGraph, "Tensor"], "Tensor"]


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


@pytest.mark.parametrize(("forward", "code", "sentence"), FORWARDS, ids=[forward.__name__[1:] for forward, _, _ in FORWARDS])  # fmt: skip
def test_export_finds_the_fault_and_writes_nothing(
    forward: Forward, code: int, sentence: str, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ExportGraph, "forward", forward)
    result = export_to(tiny_checkpoint, tmp_path)
    assert_failed(result, code, sentence)
    assert os.listdir(tmp_path) == []


def test_export_control_the_same_machinery_without_a_fault(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(ExportGraph, "forward", _faithful)
    result = export_to(tiny_checkpoint, tmp_path)
    assert result.exit_code == 0, result.stderr
    assert sorted(os.listdir(tmp_path)) == ["fcn8s.json", "fcn8s.onnx", "fcn8s.reference.npz"]


@pytest.mark.parametrize("plant", [*CONTROLS, *PLANTED], ids=name_of)
def test_export_finds_the_fault_in_a_graph(plant: Plant, tiny_checkpoint: Path, tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """The faults of `dlcv-parity`'s tests, in the graph that torch's exporter gives."""
    _export_gives(monkeypatch, onnx.load(tiny_onnx), plant)
    result = export_to(tiny_checkpoint, tmp_path)
    if plant in CONTROLS:
        assert result.exit_code == 0, result.stderr
        assert "fcn8s.onnx" in os.listdir(tmp_path)
        return
    assert_failed(result, 1, "argmax agreement 0.", "largest logit difference ")
    assert os.listdir(tmp_path) == []


def test_a_failed_export_leaves_an_earlier_one_untouched(tiny_checkpoint: Path, tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    before = {f"fcn8s.{end}": end.encode() for end in ("onnx", "json", "reference.npz", "plan")}
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    _export_gives(monkeypatch, onnx.load(tiny_onnx), plant_bgr)
    assert_failed(export_to(tiny_checkpoint, tmp_path), 1, "no file was written")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_export_of_a_model_that_always_says_one_class_proves_nothing(tiny_checkpoint: Path, tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """Graph and torch agree on every pixel, whatever else is wrong with the graph."""
    proto, run, out = onnx.load(tiny_onnx), tmp_path / "run", tmp_path / "out"
    out.mkdir()
    change_weight(proto, "score.bias", lambda bias: bias[2:3].__iadd__(1000))
    _export_gives(monkeypatch, proto)
    changed_checkpoint(tiny_checkpoint, run, lambda weights: weights["score.bias"][2].add_(1000))
    assert_failed(export_to(run / "best.pt", out), 1, "nothing to compare: torch predicts 1 class on 6 tiles")
    assert os.listdir(out) == []


@pytest.fixture
def quiet_class(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return quiet_checkpoint(tiny_checkpoint, tmp_path / "quiet")


@pytest.mark.parametrize("fault", [True, False], ids=["nan", "control"])
def test_export_finds_nan_that_the_mask_hides(fault: bool, quiet_class: Path, tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_scenes: list[NDArray[np.uint8]]) -> None:  # fmt: skip
    """One weight of the graph is NaN and its mask is torch's all the same: ONNX Runtime's ArgMax never takes a NaN."""
    proto, out = onnx.load(tiny_onnx), tmp_path / "out"
    out.mkdir()
    change_weight(proto, "score.bias", lambda bias: bias[NEVER : NEVER + 1].__isub__(100))  # as in the checkpoint
    if fault:
        change_weight(proto, "up8.weight", lambda weight: weight[NEVER, NEVER, 0].put(0, np.nan))
    _export_gives(monkeypatch, proto)
    result = export_to(quiet_class, out)
    if not fault:
        assert result.exit_code == 0, result.stderr
        return
    assert_failed(result, 1, "logits are NaN or infinite")
    assert "argmax agreement" not in result.stderr, "the mask alone shows nothing"
    assert os.listdir(out) == []
    (out / "planted.onnx").write_bytes(proto.SerializeToString())
    from dlcv.train.checkpoints.session import open_checkpoint

    batch = np.stack(tiny_scenes)
    with (
        open_session(out / "planted.onnx", device="cpu", session="onnxruntime") as graph,
        open_checkpoint(quiet_class, device="cpu") as model,
    ):
        assert np.mean(graph.run(batch)["mask"] == model.run(batch)["mask"]) >= 0.9999


def test_export_finds_nan_in_the_checkpoint_itself(tiny_checkpoint: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    out.mkdir()
    changed_checkpoint(tiny_checkpoint, run, lambda weights: weights["features.0.weight"][0, 0, 0, 0].fill_(float("nan")))  # fmt: skip
    assert_failed(export_to(run / "best.pt", out), 1, "logits are NaN or infinite")
    assert os.listdir(out) == []


def _export_gives(monkeypatch: pytest.MonkeyPatch, proto: Any, plant: Callable[[Any], None] = lambda _: None) -> None:
    """Export gets this graph from torch's exporter."""
    plant(proto)
    monkeypatch.setattr(export_model, "onnx_from_model", lambda model, card, **options: proto)
