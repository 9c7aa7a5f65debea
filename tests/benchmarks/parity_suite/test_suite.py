"""The parity suite on the tiny classifier: what holds is told to hold, what is broken fails, what cannot run says why."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

pytest.importorskip("onnx", reason="the export extra is not installed")
torch = pytest.importorskip("torch", reason="the export extra is not installed")

from dlcv.benchmarks.parity_suite import __main__ as cli  # noqa: E402
from dlcv.benchmarks.parity_suite import matrix, report  # noqa: E402
from dlcv.benchmarks.parity_suite import trained as training  # noqa: E402
from dlcv.benchmarks.parity_suite.graphs import CPU, PRECISIONS, Way  # noqa: E402
from dlcv.benchmarks.parity_suite.report import as_markdown, as_page, lines_of, to_dict  # noqa: E402
from dlcv.benchmarks.parity_suite.trained import Trained  # noqa: E402
from dlcv.runtime.datasets.loading import labelled_for  # noqa: E402
from dlcv.runtime.errors import ExportError, PrecisionError  # noqa: E402
from dlcv.train.checkpoints.checkpoint import load_checkpoint, model_from_checkpoint  # noqa: E402
from dlcv.train.plan import Data  # noqa: E402

ONNX = CPU[0]


@pytest.fixture(scope="module")
def trained(tiny_classifier: Callable[[int], Path], tiny_classified: Path) -> Trained:
    best = load_checkpoint(tiny_classifier(1))
    card = best.card.changed(head="logits")
    labelled = labelled_for(card, tiny_classified)
    return Trained(model_from_checkpoint(best).eval(), card, labelled, labelled)


def test_the_command_knows_every_precision() -> None:
    assert tuple(PRECISIONS) == cli.PRECISION_NAMES


@pytest.fixture(scope="module")
def cells(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> list[matrix.Cell]:
    """In float32 and bfloat16, in ONNX Runtime and a plan that cannot run."""
    ways = (ONNX, Way("tensorrt", "cuda")) if not torch.cuda.is_available() else (ONNX,)
    return matrix.cells_of(trained, ways, ("fp32", "bf16"), tmp_path_factory.mktemp("cells"))


def test_a_row_of_the_matrix(cells: list[matrix.Cell]) -> None:
    verdicts = {(one.precision, one.way.session): one.verdict for one in cells}
    assert verdicts["fp32", "onnxruntime"] == "holds"
    assert verdicts["bf16", "onnxruntime"] == "did not run"
    assert any("ONNX Runtime has no bfloat16 convolution" in line for line in lines_of(cells))
    text, values = as_markdown(cells, {"cpu": "a CPU"}), to_dict(cells, {"cpu": "a CPU"})
    assert "| cnn3 " in text and "1.000000" in text
    assert json.loads(json.dumps(values))["cells"][0]["stage"]["agreement"] == 1.0
    assert '<td class="holds">holds</td>' in as_page(cells, {})


def test_what_should_have_run_and_did_not_fails(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph that the exporter refuses, and one that a session refuses: on a CPU neither is for want of something."""

    def refused(given: Trained, precision: str, folder: Path) -> Path:
        if precision == "fp16":
            raise ExportError("an operator is not known")
        path = folder / "none.onnx"
        path.write_bytes(b"no graph")
        return path

    monkeypatch.setattr(matrix, "write_graph", refused)
    cells = matrix.cells_of(trained, (ONNX, Way("onnxruntime", "cuda")), ("fp16", "fp32"), tmp_path)
    assert [one.verdict for one in cells] == ["FAILS", "did not run", "FAILS", "did not run"]
    lines = lines_of(cells)
    assert len(lines) == 4
    assert lines[0] == "cnn3 fp16 in onnxruntime on cpu fails: did not run: an operator is not known"
    assert '<td class="fails">FAILS</td>' in as_page(cells, {})


def test_the_command_fails_when_a_cell_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside one that holds."""
    held = matrix.Cell("cnn3", "fp32", ONNX, stage=SimpleNamespace())  # type: ignore[arg-type]
    lost = matrix._not_run("cnn3", "int8", ONNX, ExportError("an operator is not known"))
    excused = matrix._not_run("cnn3", "bf16", ONNX, PrecisionError("no bfloat16"))
    monkeypatch.setattr(matrix, "run_suite", lambda *_, **__: [held, lost, excused])
    monkeypatch.setattr(report, "as_markdown", lambda *_: "")
    done = CliRunner().invoke(cli.main, [])
    assert done.exit_code == 1
    assert done.stderr.endswith("cnn3 int8 in onnxruntime on cpu fails: did not run: an operator is not known\n")


def test_a_model_that_ends_the_suite_costs_none_of_those_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What there is is kept after each model, and of one that fails the first reason is told at once."""
    lost = matrix._not_run("cnn3", "int8", ONNX, ExportError("an operator is not known"))

    def train(name: str, *_: Any) -> str:
        if name == "second":
            raise KeyboardInterrupt
        return name

    kept: list[list[matrix.Cell]] = []
    said: list[str] = []
    monkeypatch.setattr(matrix, "train", train)
    monkeypatch.setattr(matrix, "cells_of", lambda *_: [lost])
    with pytest.raises(KeyboardInterrupt):
        matrix.run_suite(["first", "second"], (ONNX,), say=said.append, keep=lambda cells: kept.append([*cells]))
    assert kept == [[lost]]
    assert said[2] == "cnn3 int8 in onnxruntime on cpu fails: did not run: an operator is not known"


@pytest.mark.parametrize(("headlines", "epochs"), [([0.3], [15]), ([0.11, 0.3], [15, 45]), ([0.11, 0.11], [15, 45])])
def test_what_has_learned_nothing_is_trained_longer(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, headlines: list[float], epochs: list[int]
) -> None:
    """Above the majority predictor by little is nothing; after that it is held as it is."""
    asked: list[int] = []
    scores = iter([SimpleNamespace(headline=one, majority=0.1) for one in headlines])

    def start(settings: Any, folder: Path, **_: Any) -> Any:
        asked.append(settings.epochs)
        return SimpleNamespace(train=lambda: next(scores))

    best = SimpleNamespace(card=trained.card)
    monkeypatch.setattr("dlcv.train.run.start", start)
    monkeypatch.setattr("dlcv.train.checkpoints.checkpoint.load_checkpoint", lambda path: best)
    monkeypatch.setattr("dlcv.train.checkpoints.checkpoint.model_from_checkpoint", lambda one: trained.network)
    monkeypatch.setattr("dlcv.train.plan.data_of", lambda *_: Data(trained.labelled, trained.labelled))
    assert training.train("cnn3", tmp_path, 0.1).card == trained.card
    assert asked == epochs


def test_a_run_and_its_data(tiny_classifier: Callable[[int], Path], tiny_classified: Path, tmp_path: Path) -> None:
    """The command on the weights of a run: its own validation images, in the float32 that torch has."""
    best, run = tiny_classifier(1), tmp_path / "a-run"
    labelled = labelled_for(load_checkpoint(best).card, tiny_classified)
    shutil.copytree(best.parent, run)
    (run / "split.csv").write_text("name,split\n" + "".join(f"{one.name},validation\n" for one in labelled.examples))
    options = ["--run", str(run), "--data", str(tiny_classified), "--images", "3", "--precision", "fp32"]
    done = CliRunner().invoke(cli.main, [*options, "--output", str(tmp_path)])
    assert done.exit_code == 0, done.stderr
    cells = json.loads((tmp_path / "parity.json").read_text())["cells"]
    assert {(one["session"], one["compute"], one["verdict"]) for one in cells} >= {("onnxruntime", "card", "holds")}
    assert {one["images"] for one in cells if one["verdict"] == "holds"} == {3}
    assert cells[0]["model"] == "a-run"


@pytest.mark.parametrize(
    "options", [["--run", "a"], ["--run", "a", "--data", "x", "--data", "y"], ["--run", "a", "--data", "x", "--all"]]
)
def test_a_run_without_its_data_is_refused(options: list[str]) -> None:
    done = CliRunner().invoke(cli.main, options)
    assert done.exit_code == 2
    assert "--run takes no --model and no --all, and --data once or for each run; got 1 run" in done.stderr


def test_what_to_compute_in_is_asked_of_float32_alone() -> None:
    bf16 = Way("openvino", "cpu", "bf16")
    assert bf16.label == "openvino on cpu, --compute bf16"
    assert [precision for precision in PRECISIONS if bf16.takes(precision)] == ["fp32"]


def test_the_page_opens_without_an_error(browser: Any, cells: list[matrix.Cell], tmp_path: Path) -> None:
    """A cell that holds, one that did not run, and one that fails, each to be told from the others."""
    failed = matrix._not_run("<script>alert(1)</script>", "int8", ONNX, ExportError("an operator is not known"))
    path = tmp_path / "parity.html"
    path.write_text(as_page([*cells, failed], {"cpu": "a CPU"}), "utf-8")
    browser.open(path)
    assert browser.problems == [] and browser.dialogs == []
    assert browser.texts("h2")[:2] == ["Agreement with torch", "Each engine"]
    looks = "[...document.querySelectorAll('td.holds, td.fails')].map(one => getComputedStyle(one).backgroundColor)"
    assert len(set(browser.js(looks))) == 2, "what holds and what fails have colours of their own"
    assert browser.js("document.documentElement.scrollWidth <= window.innerWidth"), (
        "wide tables scroll in their own box"
    )


def test_a_broken_graph_fails(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first convolution is lost: torch stays what it was."""
    original = matrix.write_graph

    def broken(given: Trained, precision: str, folder: Path) -> Path:
        import copy

        network = copy.deepcopy(given.network)
        with torch.no_grad():
            next(network.parameters()).zero_()
        return original(Trained(network, given.card, given.labelled, given.calibration), precision, folder)

    monkeypatch.setattr(matrix, "write_graph", broken)
    (cell,) = matrix.cells_of(trained, (ONNX,), ("fp32",), tmp_path)
    assert cell.verdict == "FAILS"
    assert "argmax agreement" in lines_of([cell])[0]
    assert '<td class="fails">FAILS</td>' in as_page([cell], {})


def test_int8_is_the_exporters_graph(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers that lose too much are put back, and what the exporter refuses fails with its reason."""
    from dlcv.export.precision import low_precision as exporter
    from dlcv.runtime.errors import VerdictError

    asked: list[Any] = []
    original = exporter.low_precision

    def watched(given: Any, settings: Any, *rest: Any) -> Any:
        asked.append(settings)
        if len(asked) > 1:
            raise VerdictError("int8 is not what torch is")
        return original(given, settings, *rest)

    monkeypatch.setattr(exporter, "low_precision", watched)
    (cell,) = matrix.cells_of(trained, (ONNX,), ("int8",), tmp_path)
    assert cell.computes == "int8", lines_of([cell])
    assert (asked[0].precision, asked[0].repair, asked[0].max_drop) == ("int8", True, matrix.MAX_DROP["int8"])
    (cell,) = matrix.cells_of(trained, (ONNX,), ("int8",), tmp_path)
    assert lines_of([cell]) == ["cnn3 int8 in onnxruntime on cpu fails: did not run: int8 is not what torch is"]
