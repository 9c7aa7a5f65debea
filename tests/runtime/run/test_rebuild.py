"""`dlcv-infer --rebuild`: real plans of TensorRT-RTX, which needs no GPU, on a machine whose GPU is another."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from dlcv.runtime.card.plan_header import read_plan_header
from dlcv.runtime.card.reader import read_card
from dlcv.runtime.card.sidecar import check_sidecar
from dlcv.runtime.errors import EngineError, PlanError
from dlcv.runtime.files import sha256_of
from dlcv.runtime.run.rebuild import rebuild_if_needed
from dlcv.runtime.sessions import cuda

pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheels for this Python")
pytest.importorskip("onnx", reason="onnx makes the graph of these tests")

from plan_graphs import CARD, write_graph


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan for compute capability 8.6 alone, with its graph and sidecar."""
    from dlcv.export.builders.options import BuildOptions
    from dlcv.export.builders.rebuild import rebuild_plan

    graph = write_graph(tmp_path_factory.mktemp("built") / "tiny.onnx", card=CARD)
    options = BuildOptions("tensorrt-rtx", max_batch=3, compute_capabilities=("8.6",))
    return rebuild_plan(graph, None, options, lambda line: None).path


@pytest.fixture
def plan(built: Path, tmp_path: Path) -> Path:
    for path in built.parent.iterdir():
        shutil.copyfile(path, tmp_path / path.name)
    return tmp_path / built.name


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the GPU of this machine; the library stays the real one."""

    def install(name: str, capability: str) -> None:
        monkeypatch.setattr(cuda, "driver_problem", lambda: "")
        monkeypatch.setattr(cuda, "gpu_name_and_capability", lambda: (name, capability))

    return install


def test_a_plan_for_another_gpu_is_built_anew(plan: Path, gpu: Any, capfd: pytest.CaptureFixture[str]) -> None:
    gpu("NVIDIA GeForce RTX 5090", "12.0")
    version, lines = read_plan_header(plan).version, []
    assert rebuild_if_needed(plan, lines.append)
    assert lines == [
        f"{plan}: built by TensorRT-RTX {version} for compute capability 8.6; this is {version} on 12.0: rebuilding from "
        f"{plan.with_suffix('.onnx')} with: dlcv-export --onnx {plan.with_suffix('.onnx')} --builder tensorrt-rtx --max-batch 3"
    ]
    assert "12.0" in read_plan_header(plan).compute_capabilities
    assert read_card(plan).max_batch == 3
    check_sidecar(plan)
    assert "compiled in" in capfd.readouterr().err, "the builder's lines are seen"
    assert not rebuild_if_needed(plan, lines.append), "now it fits"


def test_a_gpu_that_is_not_among_rtxs_own_targets_is_named(plan: Path, gpu: Any) -> None:
    gpu("NVIDIA GeForce RTX 2080", "7.5")
    lines: list[str] = []
    assert rebuild_if_needed(plan, lines.append)
    assert lines[0].endswith("--max-batch 3 --compute-capability 7.5")
    assert read_plan_header(plan).compute_capabilities == ("7.5",)


def test_a_plan_that_fits_and_what_is_no_plan_are_left_alone(plan: Path, gpu: Any) -> None:
    gpu("NVIDIA RTX A6000", "8.6")
    before = sha256_of(plan)
    assert not rebuild_if_needed(plan, lambda line: None)
    assert not rebuild_if_needed(plan.with_suffix(".onnx"), lambda line: None)
    assert sha256_of(plan) == before


def test_without_a_gpu_there_is_nothing_to_rebuild_for(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "driver_problem", lambda: "no NVIDIA driver (libcuda.so.1)")
    with pytest.raises(PlanError, match=r"runs on an NVIDIA GPU only; .*--engine \S+tiny\.onnx"):
        rebuild_if_needed(plan, lambda line: None)


def test_a_missing_or_another_graph_is_told(plan: Path, gpu: Any) -> None:
    gpu("NVIDIA GeForce RTX 5090", "12.0")
    before = sha256_of(plan)
    graph = plan.with_suffix(".onnx")
    write_graph(graph, card=CARD.changed(width=0.5))
    with pytest.raises(EngineError, match="is not the file that dlcv-export wrote"):
        rebuild_if_needed(plan, lambda line: None)
    plan.with_suffix(".json").unlink()
    with pytest.raises(PlanError, match=r"tiny\.onnx is not the graph that it was built from; export both again"):
        rebuild_if_needed(plan, lambda line: None)
    graph.unlink()
    with pytest.raises(PlanError, match=r"there is no \S+tiny\.onnx; copy the graph that it was built from beside it"):
        rebuild_if_needed(plan, lambda line: None)
    assert sha256_of(plan) == before


def test_a_graph_with_weights_elsewhere_is_refused_before_the_build(plan: Path, gpu: Any) -> None:
    """Its hash, which the plan keeps, would say nothing of them."""
    import onnx

    gpu("NVIDIA GeForce RTX 5090", "12.0")
    plan.with_suffix(".json").unlink()
    graph = plan.with_suffix(".onnx")
    onnx.save(onnx.load(graph), graph, save_as_external_data=True, location="w.bin", size_threshold=0)
    lines: list[str] = []
    with pytest.raises(EngineError, match=r"tiny\.onnx keeps weights in 'w\.bin', and a plan is built from one file"):
        rebuild_if_needed(plan, lines.append)
    assert lines == []


def test_a_build_that_fails_leaves_the_plan_as_it_was(plan: Path, gpu: Any, capfd: pytest.CaptureFixture[str]) -> None:
    gpu("NVIDIA H200", "9.0")  # out of TensorRT-RTX's reach: full TensorRT is called for, and is not installed here
    before = sha256_of(plan)
    lines: list[str] = []
    with pytest.raises(PlanError, match=r"could not be rebuilt \(see above; exit code 2\); it is as it was"):
        rebuild_if_needed(plan, lines.append)
    assert "--builder tensorrt --max-batch 3" in lines[0]
    assert "tensorrt" in capfd.readouterr().err
    assert sha256_of(plan) == before
