"""The table of a trained run and its planted faults, on the tiny classifier's run; what is told of a row that failed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

onnx = pytest.importorskip("onnx", reason="the export extra is not installed")
torch = pytest.importorskip("torch", reason="the export extra is not installed")

from dlcv.benchmarks.precision import __main__ as cli  # noqa: E402
from dlcv.benchmarks.precision import plants, report, stages  # noqa: E402
from dlcv.benchmarks.precision.plants import Planted, overflow, scale, swapped, uneven  # noqa: E402
from dlcv.benchmarks.precision.speed import speeds  # noqa: E402
from dlcv.benchmarks.precision.subject import Subject, subject_of  # noqa: E402
from dlcv.export.stages import Stage  # noqa: E402
from dlcv.runtime.card.reader import read_card  # noqa: E402
from dlcv.runtime.datasets.loading import labelled_for  # noqa: E402
from dlcv.runtime.errors import DatasetError, UsageError  # noqa: E402

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
def test_an_overflow_is_caught_and_repaired(subject: Subject, tmp_path: Path) -> None:
    found = overflow(subject, tmp_path, "conv1", "conv2")
    assert found.caught and found.repaired == ("conv1", "conv2") and "NaN or infinite" in found.by
    assert found.unguarded < found.torch - 0.2, "and it would have cost this"
    assert found.after is not None and found.after > found.torch - 0.1


def test_swapped_channels_are_caught_and_leave_no_file(subject: Subject, tmp_path: Path) -> None:
    found = swapped(subject, "fp32", tmp_path)
    assert found.caught and not found.repaired and (found.after, found.files) == (None, 0)
    assert found.by.startswith("verification failed on ") and found.unguarded < found.torch
    assert "| yes, refused | - |" in " ".join(report.plant_table([found]).split())


@pytest.mark.slow
@pytest.mark.usefixtures("tolerant")
def test_uneven_channels_are_caught_and_repaired(subject: Subject, tmp_path: Path) -> None:
    found = uneven(subject, tmp_path, "conv3", "fc")
    assert found.caught and found.repaired == ("fc",) and "argmax agreement" in found.by
    assert found.unguarded < found.torch - 0.2, "and it would have cost this"
    assert found.after is not None and found.after > found.torch - 0.1


MISSED = Planted("a fault", "fp16", False, "", (), 0, 0.9, 0.2, 0.2)
HARMLESS = Planted("no fault", "int8", False, "", (), 0, 0.9, 0.896, 0.896)
REPAIRED = Planted("a fault", "fp16", True, "overflows", ("fc",), 0, 0.9, 0.2, 0.9)


@pytest.mark.parametrize(("planted", "told"), [(MISSED, "| NO | - |"), (HARMLESS, "| harmless | - |"), (REPAIRED, "| yes, repaired | fc |")])  # fmt: skip
def test_what_became_of_a_fault_is_told(planted: Planted, told: str) -> None:
    assert told in " ".join(report.plant_table([planted]).split())
    facts = report.to_dict("cnn3", "24 images", [], {}, [planted], {})["planted"][0]
    assert facts["verdict"] == planted.verdict and facts["harmless"] == (planted is HARMLESS)


@pytest.mark.parametrize("unguarded", [float("nan"), 0.8949])
def test_what_does_harm_is_beyond_the_bound_of_the_export(unguarded: float) -> None:
    assert replace(HARMLESS, unguarded=unguarded).missed
    assert replace(HARMLESS, unguarded=0.91).harmless, "better than torch"


@pytest.mark.parametrize(("planted", "exit_code"), [(MISSED, 1), (HARMLESS, 0), (REPAIRED, 0)])
def test_only_harm_that_is_not_caught_fails_the_command(
    planted: Planted, exit_code: int, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dlcv.benchmarks.precision import subject as subjects

    monkeypatch.setattr(subjects, "subject_of", lambda *given: subject)
    monkeypatch.setattr(plants, "plants_of", lambda *given: [planted])
    done = CliRunner().invoke(cli.main, ["--run", "run", "--data", "data", "--plant"])
    assert done.exit_code == exit_code, done.stderr
    assert ("not caught: a fault" in done.stderr) == bool(exit_code)


def test_faults_are_chosen_by_name(subject: Subject, tmp_path: Path) -> None:
    assert cli.FAULT_NAMES == plants.FAULTS
    done = CliRunner().invoke(cli.main, ["--run", "run", "--data", "data", "--fault", "overflow"])
    assert done.exit_code == 2 and "--fault chooses what --plant plants" in done.stderr
    resnet = replace(subject, card=subject.card.changed(model="resnet18"))
    with pytest.raises(
        UsageError, match=r"^resnet18 has no layers for small overflow; faults of it: overflow, uneven channels, "
    ):
        plants.plants_of(resnet, tmp_path, names=("small overflow",))
    with pytest.raises(UsageError, match=r"^no layers of cnn3 are known to overflow; known: fcn8s, resnet18$"):
        plants.plants_of(subject, tmp_path)


def test_a_changed_run_keeps_its_split(subject: Subject, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "best.pt").write_bytes(subject.checkpoint.read_bytes())
    (run / "split.csv").write_text("name,split\n")
    changed = plants._changed(replace(subject, checkpoint=run / "best.pt"), tmp_path / "plant", lambda weights: None)
    assert changed.checkpoint.with_name("split.csv").read_text() == "name,split\n"


@pytest.mark.parametrize("channels", [plants.ALL_CHANNELS, slice(None, None, 2)])
def test_a_scaled_pair_is_the_same_function(channels: slice) -> None:
    rng = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(*shape, generator=rng) for name, shape in (("a.weight", (4, 3)), ("a.bias", (4,)), ("b.weight", (2, 4)))}  # fmt: skip
    image = torch.randn(5, 3, generator=rng)

    def run() -> torch.Tensor:
        return torch.relu(image @ weights["a.weight"].T + weights["a.bias"]) @ weights["b.weight"].T

    before = run()
    scale(weights, "a", "b", 1024, channels)
    assert torch.equal(run(), before), "a power of two: to the last bit"
    assert (weights["a.bias"].abs() > 100).sum() == len(range(4)[channels])


def test_data_of_another_split_is_refused(tiny_classifier: Callable[[int], Path], tiny_classified: Path, tmp_path: Path) -> None:  # fmt: skip
    run = tmp_path / "run"
    run.mkdir()
    (run / "best.pt").write_bytes(tiny_classifier(0).read_bytes())
    (run / "split.csv").write_text("name,split\na/1.png,train\na/2.png,validation\n")
    with pytest.raises(DatasetError):
        subject_of(run, tiny_classified, tmp_path / "scratch")
