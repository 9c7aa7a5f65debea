"""`dlcv-export --onnx`: a plan from an exported graph alone, its sidecar, and what is refused; without torch and onnx."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlcv.runtime.card.plan_header import read_plan_header
from dlcv.runtime.card.reader import read_card
from dlcv.runtime.card.sidecar import check_sidecar, sidecar_state
from dlcv.runtime.files import sha256_of

onnx = pytest.importorskip("onnx", reason="onnx makes the graphs of these tests")
pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheels for this Python")

from plan_graphs import CARD, write_graph  # noqa: E402

Export = Callable[..., Any]


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """A graph with its card and a sidecar that lists it."""
    path = write_graph(tmp_path / "tiny.onnx", card=CARD)
    facts = {"card": CARD.to_dict(), "verification": {"agreement": 1.0}, "files": {"tiny.onnx": {"sha256": sha256_of(path)}}}  # fmt: skip
    path.with_suffix(".json").write_text(json.dumps(facts))
    return path


def test_a_plan_is_built_beside_its_graph_and_the_sidecar_lists_it(export: Export, graph: Path) -> None:
    plan = graph.with_suffix(".plan")
    plan.write_bytes(b"of an earlier export")
    stale = graph.with_name("tiny.plan.rtxcache")
    stale.write_bytes(b"compiled from the plan before")
    result = export("--onnx", graph, "--builder", "tensorrt-rtx", "--max-batch", 4, "--compute-capability", "8.6", "--compute-capability", "7.5")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{plan}\n"
    assert result.stderr.splitlines()[-1].startswith("built by TensorRT-RTX")
    assert read_plan_header(plan).compute_capabilities == ("7.5", "8.6")
    assert (read_card(plan).max_batch, read_card(plan).onnx_sha256) == (4, sha256_of(graph))
    check_sidecar(plan)
    facts = json.loads(graph.with_suffix(".json").read_text())
    assert facts["verification"] == {"agreement": 1.0}, "what the export verified stays"
    assert facts["plan"]["built"] == result.stderr.splitlines()[-1]
    assert sorted(facts["files"]) == ["tiny.onnx", "tiny.plan"]
    assert not stale.exists()
    proof = facts["plan"]["proof"]
    assert (proof["precision"], proof["min_share"]) == ("fp32", 1.0)
    assert proof["sentence"] == "kernels in the build log: 100.0% in fp32 (2 of 2 layers are told)"


def test_a_plan_is_held_to_the_share_that_its_graph_was(export: Export, graph: Path) -> None:
    """None of this graph is in float16: its own export allowed it, and a plan of it is no worse."""
    card = CARD.changed(precision="fp16")
    write_graph(graph, card=card)
    facts = {"card": card.to_dict(), "files": {"tiny.onnx": {"sha256": sha256_of(graph)}}, "proof": {"min_share": 0.0}}
    graph.with_suffix(".json").write_text(json.dumps(facts))
    result = export("--onnx", graph, "--builder", "tensorrt-rtx", "--min-share", 0.2)
    assert result.exit_code == 1, result.stderr
    assert result.stderr.splitlines()[-1].endswith(
        "export with another --precision, or accept it with --min-share 0.00"
    )
    result = export("--onnx", graph, "--builder", "tensorrt-rtx")
    assert result.exit_code == 0, result.stderr


def test_neither_torch_nor_onnx_is_imported(graph: Path) -> None:
    """A lean machine with TensorRT has neither."""
    code = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'onnxscript', 'onnxruntime', 'cv2'): sys.modules[name] = None\n"
        f"sys.argv = ['dlcv-export', '--onnx', {str(graph)!r}, '--builder', 'tensorrt-rtx']\n"
        "from dlcv.export.cli.export import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": _paths()})  # fmt: skip
    assert done.returncode == 0, done.stderr
    check_sidecar(graph.with_suffix(".plan"))


def _paths() -> str:
    return os.pathsep.join(os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path)


def test_a_graph_that_was_edited_after_its_export_is_refused(export: Export, graph: Path) -> None:
    write_graph(graph, card=CARD.changed(model="other"))
    result = export("--onnx", graph, "--builder", "tensorrt-rtx")
    assert result.exit_code == 2
    assert "tiny.onnx is not the file that dlcv-export wrote: tiny.json holds another hash" in result.stderr
    assert not graph.with_suffix(".plan").exists()


def test_a_graph_without_a_sidecar_gets_one_for_its_plan(export: Export, graph: Path, tmp_path: Path) -> None:
    graph.with_suffix(".json").unlink()
    folder = tmp_path / "elsewhere"
    result = export("--onnx", graph, "--output", folder, "--builder", "tensorrt-rtx")
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["tiny.json", "tiny.plan"]
    assert sidecar_state(folder / "tiny.plan", sha256_of(folder / "tiny.plan")) == "matches"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--head", "probs", "--size", 32, 32), "--head, --size: --onnx builds a plan from a graph as it is"),
        (("--precision", "fp16"), "--precision: --onnx builds a plan from a graph as it is"),
        (("--dynamic-size", 32, 32, 64, 64), "--dynamic-size: --onnx builds a plan"),
        (("--format", "onnx"), "--format: --onnx builds a plan"),
        (("--version-compatible",), "has no version-compatible plans"),
        (("--compute-capability", "9.0"), "not for 9.0"),
        (("--min-batch", 9, "--max-batch", 4), "got 9, 9 and 4"),
    ],
)
def test_options_that_cannot_hold_are_refused_before_any_work(export: Export, graph: Path, options: tuple[Any, ...], sentence: str) -> None:  # fmt: skip
    result = export("--onnx", graph, "--builder", "tensorrt-rtx", *options)
    assert result.exit_code == 2
    assert sentence in result.stderr.splitlines()[-1]
    assert not graph.with_suffix(".plan").exists()


def test_what_is_no_graph_is_told(export: Export, tmp_path: Path, graph: Path) -> None:
    assert f"{tmp_path}/none.onnx does not exist" in export("--onnx", tmp_path / "none.onnx").stderr
    sidecar = graph.with_suffix(".json")
    assert "not a graph; expected the .onnx that a plan is built from" in export("--onnx", sidecar).stderr


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("beside", " keeps weights in 'w.bin', and a plan is built from one file, whose hash it keeps; export the model again: dlcv-export writes one file"),
        ("outside", " keeps weights in '../secret/w.bin', and a plan is built from one file, whose hash it keeps; "),
        ("domain", " needs operators that no library here has: evil.ops (Foo); dlcv loads no operator libraries: "),
    ],
)  # fmt: skip
def test_a_graph_that_needs_what_lies_outside_it_is_refused_before_any_builder(
    export: Export, graph: Path, monkeypatch: pytest.MonkeyPatch, change: str, sentence: str
) -> None:
    def began(*_: Any, **__: Any) -> None:
        raise AssertionError("a builder was asked")

    monkeypatch.setattr("dlcv.export.builders.rebuild.build_plan", began)
    graph.with_suffix(".json").unlink()
    model = onnx.load(graph)
    if change == "domain":
        model.graph.node.append(onnx.helper.make_node("Foo", ["image"], ["other"], domain="evil.ops"))
    else:
        tensor = model.graph.initializer[0]
        (graph.parent / "w.bin").write_bytes(tensor.raw_data)
        onnx.external_data_helper.set_external_data(tensor, "w.bin" if change == "beside" else "../secret/w.bin")
        tensor.ClearField("raw_data")
    graph.write_bytes(model.SerializeToString())
    result = export("--onnx", graph, "--builder", "tensorrt-rtx")
    assert result.exit_code == 2, result.exception
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"dlcv-export: {graph}{sentence}")


@pytest.mark.parametrize(
    ("opset", "sentence"),
    [
        (26, "has opset 26, above 25, the newest that TensorRT-RTX 1.7.1.116 reads; export it again with: dlcv-export --model NAME --builder tensorrt-rtx"),
        (8, "has opset 8, below 9, the oldest that TensorRT reads; export it again"),
    ],
)  # fmt: skip
def test_an_opset_out_of_reach_is_told_before_the_parser_does_what_it_can(export: Export, graph: Path, opset: int, sentence: str) -> None:  # fmt: skip
    graph.with_suffix(".json").unlink()
    write_graph(graph, card=CARD, opset=opset)
    result = export("--onnx", graph, "--builder", "tensorrt-rtx")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].endswith(sentence)


def test_an_opset_beyond_what_is_known_is_tried_with_a_line(export: Export, graph: Path) -> None:
    graph.with_suffix(".json").unlink()
    write_graph(graph, card=CARD, opset=24)
    result = export("--onnx", graph, "--builder", "tensorrt-rtx")
    assert result.exit_code == 0, result.stderr
    assert "opset 24 is above 22, the newest that TensorRT-RTX 1.7.1.116 is known to read: trying" in result.stderr
