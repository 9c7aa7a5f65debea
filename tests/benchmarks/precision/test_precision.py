"""The table of a trained run and its planted faults, on the tiny classifier's run; what is told of a row that failed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

onnx = pytest.importorskip("onnx", reason="the export extra is not installed")
torch = pytest.importorskip("torch", reason="the export extra is not installed")

from dlcv.benchmarks.precision import plants, report, stages  # noqa: E402
from dlcv.benchmarks.precision.plants import Planted, overflow, scale, swapped  # noqa: E402
from dlcv.benchmarks.precision.speed import speeds  # noqa: E402
from dlcv.benchmarks.precision.subject import Subject, subject_of  # noqa: E402
from dlcv.export.stages import Stage  # noqa: E402
from dlcv.runtime.card_reader import read_card  # noqa: E402
from dlcv.runtime.datasets.loading import labelled_for  # noqa: E402
from dlcv.runtime.errors import DatasetError  # noqa: E402

if TYPE_CHECKING:
    from dlcv.export.export_model import ExportSettings


@pytest.fixture
def subject(tiny_classifier: Callable[[int], Path], tiny_classified: Path) -> Subject:
    path = tiny_classifier(0)
    card = read_card(path)
    labelled = labelled_for(card, tiny_classified)
    return Subject(path, card, labelled, tiny_classified, tiny_classified, len(labelled))


@pytest.fixture
def tolerant(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny classifier has few images, of which each is 0.04 of accuracy."""
    real = stages.settings_of

    def settings(*given: Any, **changed: Any) -> ExportSettings:
        asked = real(*given, **changed)
        return replace(asked, precision=replace(asked.precision, max_drop=0.1, min_share=0.2))

    for module in (stages, plants):
        monkeypatch.setattr(module, "settings_of", settings)


@pytest.mark.usefixtures("tolerant")
def test_a_row_holds_every_stage_its_proof_and_its_files(subject: Subject, tmp_path: Path) -> None:
    reference = stages.torch_session(subject.checkpoint)
    row = stages.row_of(subject, reference, "int8", tmp_path / "int8")
    assert not row.failed and row.graph is not None and row.bytes[0] == row.graph.stat().st_size
    graph, ort = row.stages["graph"], row.stages["onnxruntime"]
    assert isinstance(graph, Stage) and isinstance(ort, Stage)
    assert graph.comparison.images == ort.comparison.images == len(subject.validation)
    assert (graph.nan, graph.infinite) == (0, 0)
    assert row.computes["onnxruntime"] == "int8" and " in int8" in row.executed["onnxruntime"]
    assert isinstance(row.stages["plan"], str), "no GPU here"
    assert "of the graph's multiply-adds in int8" in row.proof
    if row.bytes[1]:
        assert row.plan_proof.startswith("types of the strongly typed network as parsed: ")
    text = report.as_markdown("cnn3", "24 images", [row], {}, [])
    assert f"{graph.comparison.reference.headline:.4f}" in text and f"{row.bytes[0]:,}" in text
    facts = json.loads(json.dumps(report.to_dict("cnn3", "24 images", [row], {}, [], {})))
    assert facts["rows"][0]["stages"]["graph"]["nan"] == 0 and facts["rows"][0]["stages"]["plan"]["ran"] is False
    found = speeds({"fp32": row.graph, "int8": row.graph}, ("onnxruntime",), subject.validation.image(subject.validation.examples[0])[:32, :32], 2)  # fmt: skip
    assert found["int8", "onnxruntime"].wall.pairs == found["int8", "onnxruntime"].cpu.pairs == 2


def test_an_export_that_is_refused_is_a_row_with_its_reason(subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    def refuses(*given: Any) -> Any:
        raise stages.VerdictError("int8 is not what torch is")

    monkeypatch.setattr(stages, "export_model", refuses)
    row = stages.row_of(subject, stages.torch_session(subject.checkpoint), "int8", tmp_path)
    assert row.failed == "int8 is not what torch is" and not row.stages
    assert "refused" in report.stage_table([row])
    assert report.proof_lines([row]) == ["int8: refused: int8 is not what torch is"]


@pytest.mark.slow
@pytest.mark.usefixtures("tolerant")
def test_an_overflow_is_caught_and_repaired(subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plants.PAIRS, "cnn3", ("conv1", "conv2"))
    found = overflow(subject, tmp_path)
    assert found.caught and found.repaired == ("conv1", "conv2") and "NaN or infinite" in found.by
    assert found.unguarded < found.torch - 0.2, "and it would have cost this"
    assert found.after is not None and found.after > found.torch - 0.1


def test_swapped_channels_are_caught_and_leave_no_file(subject: Subject, tmp_path: Path) -> None:
    found = swapped(subject, "fp32", tmp_path)
    assert found.caught and not found.repaired and (found.after, found.files) == (None, 0)
    assert found.by.startswith("verification failed on ") and found.unguarded < found.torch
    assert "| yes | no: refused |" in " ".join(report.plant_table([found]).split())


def test_a_fault_that_is_not_caught_is_told() -> None:
    missed = Planted("a fault", "fp16", False, "", (), 0, 0.9, 0.2, 0.2)
    assert "| NO | - |" in " ".join(report.plant_table([missed]).split())


def test_a_scaled_pair_is_the_same_function() -> None:
    weights = {"a.weight": torch.ones(2, 2), "a.bias": torch.ones(2), "b.weight": torch.ones(2, 2)}
    scale(weights, "a", "b", 1e6)
    assert float((weights["a.weight"] @ weights["b.weight"])[0, 0]) == pytest.approx(2)


def test_data_of_another_split_is_refused(tiny_classifier: Callable[[int], Path], tiny_classified: Path, tmp_path: Path) -> None:  # fmt: skip
    run = tmp_path / "run"
    run.mkdir()
    (run / "best.pt").write_bytes(tiny_classifier(0).read_bytes())
    (run / "split.csv").write_text("name,split\na/1.png,train\na/2.png,validation\n")
    with pytest.raises(DatasetError):
        subject_of(run, tiny_classified, tmp_path / "scratch")
