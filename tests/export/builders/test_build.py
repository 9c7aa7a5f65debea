"""Real plans from a tiny graph with TensorRT-RTX, which needs no GPU; what stands in their bytes; and every refusal."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlcv.export.builders import network, readback
from dlcv.export.builders.build import build_plan
from dlcv.export.builders.options import BuildOptions
from dlcv.runtime.card_reader import read_card
from dlcv.runtime.errors import ExportError, OutputError, PlanError, UsageError
from dlcv.runtime.files import sha256_of
from dlcv.runtime.plan_header import read_plan_header
from dlcv.runtime.sessions import cuda, open_session

onnx = pytest.importorskip("onnx", reason="onnx makes the graphs of these tests")

from plan_graphs import CARD, write_graph  # noqa: E402


@pytest.fixture
def rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheels for this Python")


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return write_graph(tmp_path / "tiny.onnx")


def _build(graph: Path, **changed: Any) -> Any:
    values = {"builder": "tensorrt-rtx", "max_batch": 4, "opt_batch": 2} | changed
    more = {name: values.pop(name) for name in ("card", "progress", "timing_cache") if name in values}
    return build_plan(graph, graph.with_suffix(".plan"), **{"card": CARD} | more, options=BuildOptions(**values))


def test_the_card_and_the_header_stand_in_the_plans_bytes(rtx: Any, graph: Path) -> None:
    lines: list[str] = []
    report = _build(graph, progress=lines.append)
    data = report.path.read_bytes()
    assert data[:4] == b"vtrt"
    assert b'dlcv1:{"schema":' in data[:4096]
    card = read_card(report.path)
    assert card == report.card
    assert card == CARD.changed(
        onnx_sha256=sha256_of(graph), max_batch=4, versions={"onnx": onnx.__version__, "tensorrt_rtx": rtx.__version__}
    )
    header = read_plan_header(report.path)
    assert header == report.header
    assert (header.kind, header.version) == ("tensorrt-rtx", rtx.__version__)
    assert header.compute_capabilities == ("8.0", "8.6", "8.9", "12.0", "12.1")  # TensorRT-RTX 1.7's own choice
    assert report.sentence == (
        f"built by TensorRT-RTX {rtx.__version__} for GPUs of compute capability 8.0, 8.6, 8.9, 12.0, 12.1; "
        "it does not run on 7.5 (Turing, RTX 20), 8.7 (Jetson Orin), 9.0 (H100, H200), 10.0 (B200)"
    )
    assert report.warnings == ()
    assert re.fullmatch(r"compiled in \d+\.\d s", lines.pop(3))
    assert lines == [
        f"building with TensorRT-RTX {rtx.__version__}, as asked",
        f"reading {graph}",
        "compiling for batches of 1 to 4",
        "reading the plan back",
    ]
    assert sorted(path.name for path in graph.parent.iterdir()) == ["tiny.onnx", "tiny.plan"]


def test_the_targets_can_be_chosen(rtx: Any, graph: Path) -> None:
    report = _build(graph, compute_capabilities=("12.0", "7.5"), workspace_mib=64, tf32=True)
    assert report.header.compute_capabilities == ("7.5", "12.0")
    assert "does not run on 8.0 (A100), 8.6 (RTX 30), 8.7 (Jetson Orin)" in report.sentence
    with pytest.raises(UsageError, match=r"builds for compute capability 7\.5, 8\.0, .*12\.1, not for 9\.0$"):
        _build(graph, compute_capabilities=("8.6", "9.0"))


def test_a_plan_opened_without_a_driver_names_the_graph(rtx: Any, graph: Path) -> None:
    if cuda.driver_present():
        pytest.skip("this machine has an NVIDIA driver")
    report = _build(graph)
    with pytest.raises(PlanError) as caught:
        open_session(report.path)
    assert str(caught.value).startswith(
        "this machine has no NVIDIA driver (libcuda.so.1), and a TensorRT plan runs on an NVIDIA GPU only;"
    )
    assert str(caught.value).endswith(f"--engine {graph}")


def test_an_operator_that_tensorrt_does_not_know_is_told_with_its_node(rtx: Any, graph: Path) -> None:
    node = onnx.helper.make_node("Frobnicate", ["nchw"], ["features"], name="frob")
    write_graph(graph, {2: node})
    with pytest.raises(ExportError) as caught:
        _build(graph)
    text = str(caught.value)
    assert text.startswith(f"TensorRT-RTX {rtx.__version__} cannot read {graph}: node 2 frob Frobnicate: ")
    assert "Plugin not found" in text
    assert "\n" not in text
    assert not graph.with_suffix(".plan").exists()


def test_the_layout_change_before_the_cast_is_refused_in_words(rtx: Any, graph: Path) -> None:
    h, types = onnx.helper, onnx.TensorProto
    swapped = {
        0: h.make_node("Transpose", ["image"], ["floats"], perm=[0, 3, 1, 2]),
        1: h.make_node("Cast", ["floats"], ["nchw"], to=types.FLOAT),
    }
    write_graph(graph, swapped)
    with pytest.raises(ExportError, match=r"node 0 Transpose: .*has type UInt8") as caught:
        _build(graph)
    assert "cudaError" not in str(caught.value), "the missing driver has nothing to do with it"


def test_a_file_that_is_no_graph_is_told(rtx: Any, graph: Path) -> None:
    graph.write_bytes(b"not a graph")
    with pytest.raises(ExportError, match=r"cannot read .*tiny\.onnx: .*Failed to parse the ONNX model"):
        _build(graph)
    graph.unlink()
    with pytest.raises(
        ExportError, match=r"tiny\.onnx cannot be read: No such file or directory; export the graph first"
    ):
        _build(graph)


def test_a_graph_of_another_size_than_its_card_is_told(rtx: Any, graph: Path) -> None:
    with pytest.raises(
        ExportError, match=r"has the inputs \{'image': \(-1, 16, 24, 3\)\}, expected \{'image': \(-1, 32, 24, 3\)\}"
    ):
        _build(graph, card=CARD.changed(input_size_hw=(32, 24)))


def test_a_card_that_the_plan_cannot_hold_is_told(rtx: Any, graph: Path) -> None:
    spare = 4095 - len("dlcv1:" + _build(graph).card.to_json())
    longest = CARD.changed(classes=("land" + "x" * spare, "water", "road"))
    assert read_card(_build(graph, card=longest).path).classes == longest.classes
    with pytest.raises(ExportError) as caught:
        _build(graph, card=CARD.changed(classes=("land" + "x" * (spare + 1), "water", "road")))
    assert str(caught.value) == (
        "the model card is 4096 characters long as JSON, and a plan holds at most 4095; "
        "use fewer classes or shorter class names"
    )


def test_batches_out_of_order_are_told(graph: Path) -> None:
    with pytest.raises(
        UsageError, match="expected batches with 1 <= --min-batch <= --opt-batch <= --max-batch <= 1024, got 1, 8 and 4"
    ):
        _build(graph, opt_batch=8)


def test_a_folder_that_cannot_be_written_is_told_and_the_old_plan_stays(rtx: Any, graph: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*none/tiny\.plan: No such file or directory"):
        build_plan(
            graph, graph.parent / "none" / "tiny.plan", card=CARD, options=BuildOptions("tensorrt-rtx", max_batch=1)
        )
    old = graph.with_suffix(".plan")
    old.write_bytes(b"older plan")
    write_graph(graph, {2: onnx.helper.make_node("Frobnicate", ["nchw"], ["features"])})
    with pytest.raises(ExportError):
        _build(graph)
    assert old.read_bytes() == b"older plan"


def test_a_plan_that_says_something_else_than_asked_is_not_kept(
    rtx: Any, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readback, "read_card", lambda path: CARD.changed(model="other"))
    with pytest.raises(ExportError, match=r"read back from the plan's bytes: another model card"):
        _build(graph)
    monkeypatch.setattr(network.Build, "compile", lambda self, say: b"vtrt cut")
    with pytest.raises(ExportError, match=r"built cannot be read back: .* is cut short"):
        _build(graph)
    assert [path.name for path in graph.parent.iterdir()] == ["tiny.onnx"]


# --- on a GPU -------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not cuda.driver_present(), reason=f"this machine has {cuda.driver_problem()}")
def test_a_plan_gives_the_masks_of_onnx_runtime(graph: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    pytest.importorskip("pycuda", reason="pycuda runs the plan")
    report = _build(graph, builder="auto")
    name, capability = cuda.gpu_name_and_capability()
    if report.header.kind == "tensorrt-rtx" and capability not in report.header.compute_capabilities:
        pytest.skip(f"TensorRT-RTX does not build for {name} ({capability}), and full TensorRT is not installed")
    batches = [
        np.random.default_rng(seed).integers(0, 256, (1 + seed % 4, 16, 24, 3), dtype=np.uint8) for seed in range(24)
    ]
    reference = ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    with open_session(report.path) as session, ThreadPoolExecutor(2 * session.parallel) as pool:
        masks = [outputs["mask"] for outputs in pool.map(session.run, batches)]
    expected = [reference.run(["mask"], {"image": batch})[0] for batch in batches]
    assert [mask.shape for mask in masks] == [mask.shape for mask in expected]
    # Both compute in float32 in another order of summation: only pixels whose two best classes nearly tie may differ.
    agreement = np.mean(
        np.concatenate([mask.ravel() for mask in masks]) == np.concatenate([mask.ravel() for mask in expected])
    )
    assert agreement >= 0.999
