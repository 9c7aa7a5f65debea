"""The programs of the parts: on a CPU where they can, else through the double of TensorRT and pycuda (its signatures: test_trt_double.py)."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from trt_double import CARD

from dlcv.benchmarks.bench.measure import Effort
from dlcv.benchmarks.bench.roofline import Product
from dlcv.benchmarks.gpu_suite import bench, copies, files, graphs, lent, matrix, parity, part, plans
from dlcv.runtime.errors import DlcvError, EngineError, ExportError, MissingPackageError, PrecisionError, VerdictError
from dlcv.runtime.sessions import cuda


@pytest.fixture
def world(world: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(part, "driver_problem", lambda: "")
    return world


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in (part, graphs, bench, plans, files):
        monkeypatch.setattr(module, "FOLDER", tmp_path)
    return tmp_path


def test_copies_are_timed_by_the_devices_clock_and_freed(world: Any) -> None:
    world.copy_ms = 0.5
    facts = copies.measure(size=1000)
    rates = facts["gb_per_s"]
    assert rates["pinned, to the device"] == pytest.approx(1000 / 0.5e-3 / 1e9)
    assert len(rates) == 4
    assert world.memory == {}, "device memory is freed"
    assert world.names().count("free host") == 2
    assert world.names().count("Stream") == 2


def test_a_gpu_that_returns_something_else_is_told(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world.copy_ms = 0.5
    monkeypatch.setattr(
        cuda.Stream, "copy_to_host", lambda self, host, buffer: cuda.Stream.copy_to_device(self, buffer, host)
    )
    with pytest.raises(EngineError, match=r"^what came back from the GPU is not what was sent"):
        copies.measure(size=1000)


def _kept(folder: Path, double: Any, wrong: int = 0) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 4, 6, 3), dtype=np.uint8)
    np.savez(
        folder / "m.reference.npz",
        images=images,
        classes=(images[..., 0] + wrong) % 3,
        bound_fp32=0.9999,
        bound_tf32=0.999,
        bound_fp16=0.99,
        bound_int8=0.9,
    )
    for precision in graphs.PRECISIONS:
        (folder / f"m-{precision}.onnx").write_bytes(b"a graph")


@pytest.fixture
def builds(double: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A builder for a GPU that has float32 alone."""

    def build_plan(graph: Path, plan: Path, *, card: Any, options: Any, timing_cache: Path) -> Any:
        if "fp32" not in graph.name:
            raise ExportError("it finds no fast fp16 or int8")
        plan.write_bytes(double.plan_bytes(CARD.to_json()))
        return SimpleNamespace(path=plan, sentence="built by a double", ran="all in fp32")

    monkeypatch.setattr("dlcv.export.builders.build.build_plan", build_plan)
    monkeypatch.setattr("dlcv.runtime.card.reader.read_card", lambda path, data=None: CARD)
    monkeypatch.setattr(plans, "BATCHES", (1, 4))


@pytest.mark.usefixtures("builds")
def test_plans_are_built_run_compared_and_timed(world: Any, double: Any, folder: Path) -> None:
    _kept(folder, double)
    facts = plans.check("m")
    assert (facts["fp32"]["agreement"], facts["fp32"]["ran"]) == (1, "all in fp32")
    assert facts["fp32"]["graphs"]["same as call by call"] is True and facts["fp32"]["graphs"]["notices"] == []
    assert [(case["engine"], case["batch"]) for case in facts["cases"]] == [
        (f"m-{precision}.plan", batch) for precision in ("tf32", "fp32") for batch in (1, 4)
    ]
    assert [case["computes"] for case in facts["cases"]] == ["tf32", "tf32", "fp32", "fp32"]
    rates = facts["cases"][1]["images_per_s"]
    assert set(rates) == {"host-to-host", "host to host, no graphs", "bare loop", "device"}
    assert rates["device"] == pytest.approx(4 / 2.5e-3), "2.5 ms by the double's clock"
    assert facts["left out"] == dict.fromkeys(("fp16", "int8"), "it finds no fast fp16 or int8")
    assert json.loads((folder / "plans-m.json").read_text())["cases"] == facts["cases"], "kept as it comes"
    assert world.memory == {}


@pytest.mark.usefixtures("builds", "world")
def test_plans_whose_graphs_cannot_be_recorded_fail(double: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _kept(folder, double)
    notices = property(lambda session: ["m.plan runs without CUDA graphs: refused"])
    monkeypatch.setattr("dlcv.runtime.sessions.trt.TrtSession.notices", notices)
    with pytest.raises(VerdictError, match=r"^CUDA graphs: tf32: m\.plan runs without CUDA graphs: refused; fp32: "):
        plans.check("m")


@pytest.mark.usefixtures("builds", "world")
def test_plans_that_say_something_else_as_graphs_fail(
    double: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _kept(folder, double)
    run = sys.modules["dlcv.runtime.sessions.trt"].TrtSession.run  # type: ignore[attr-defined]
    seen: list[Any] = []

    def other_after_a_smaller_batch(session: Any, images: Any) -> Any:
        outputs = run(session, images)
        seen.append((session, len(images)))
        stale = len(images) == 4 and any(one is session and count < 4 for one, count in seen)
        graphed = session is seen[0][0]
        return {name: value + 1 for name, value in outputs.items()} if stale and graphed else outputs

    monkeypatch.setattr("dlcv.runtime.sessions.trt.TrtSession.run", other_after_a_smaller_batch)
    with pytest.raises(
        VerdictError, match=r"CUDA graphs: tf32: batches of \[4, 4, 4, 4, 4\] differ from those call by"
    ):
        plans.check("m")


@pytest.mark.usefixtures("builds", "world")
@pytest.mark.parametrize("kind", [VerdictError, PrecisionError, MissingPackageError])
def test_a_plan_that_is_refused_is_a_reason_and_the_others_go_on(
    double: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, kind: type[DlcvError]
) -> None:
    """The proof of a plan's precision refuses with a verdict, the session that would run it with a PrecisionError."""
    _kept(folder, double)
    build = sys.modules["dlcv.export.builders.build"].build_plan  # type: ignore[attr-defined]

    def build_plan(graph: Path, plan: Path, *, card: Any, options: Any, timing_cache: Path) -> Any:
        if "fp16" in graph.name:
            raise kind("m", "run", "pip") if kind is MissingPackageError else kind("the plan is not in fp16")
        return build(graph, plan, card=card, options=options, timing_cache=timing_cache)

    monkeypatch.setattr("dlcv.export.builders.build.build_plan", build_plan)
    facts = plans.check("m")
    assert "fp16" in facts["left out"] and facts["fp32"]["agreement"] == 1
    assert json.loads((folder / "plans-m.json").read_text())["left out"] == facts["left out"]
    monkeypatch.setattr(plans, "PRECISIONS", ("fp16",))
    with pytest.raises(kind):
        plans.check("m")


@pytest.mark.usefixtures("builds", "world")
def test_plans_take_the_largest_batch_that_is_timed_and_a_budget_cuts_the_rest(
    double: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _kept(folder, double)
    asked: list[Any] = []
    build = sys.modules["dlcv.export.builders.build"].build_plan  # type: ignore[attr-defined]

    def build_plan(graph: Path, plan: Path, *, card: Any, options: Any, timing_cache: Path) -> Any:
        asked.append(options)
        return build(graph, plan, card=card, options=options, timing_cache=timing_cache)

    monkeypatch.setattr("dlcv.export.builders.build.build_plan", build_plan)
    monkeypatch.setattr(plans, "PRECISIONS", ("fp32", "int8"))
    clock = iter([5.0, 5.0, 0.0, 0.0])
    monkeypatch.setattr(plans, "left_s", lambda budget_s: lambda: next(clock))
    facts = plans.check("m", budget_s=7)
    assert [one.max_batch for one in asked] == [4]
    assert facts["cut"] == ["m-fp32.plan at batch 4, since the budget was over", "int8, since 7 s were over"]
    assert max(importlib.reload(plans).BATCHES) == 64 and plans.PRECISIONS[0] == "fp16"


@pytest.mark.usefixtures("builds", "world")
def test_a_plan_that_says_something_else_fails(double: Any, folder: Path) -> None:
    _kept(folder, double, wrong=1)
    with pytest.raises(
        VerdictError, match=r"^parity failed: tf32: agreement .*; fp32: agreement 0\.0+, expected at least 0\.9999"
    ):
        plans.check("m")


def test_a_missing_graph_names_the_command_that_writes_it(folder: Path) -> None:
    for check in (lambda: plans.check("m"), lambda: parity.check("m"), lambda: bench.measure("m", 1.0)):
        with pytest.raises(
            EngineError, match=r"is missing; write it with: python -m dlcv\.benchmarks\.gpu_suite\.graphs m$"
        ):
            check()


def test_the_tensorrt_programs_need_numpy_alone() -> None:
    """Before the driver, as in the kit's Python 3.10: no click, cv2, torch, onnx, onnxruntime."""
    code = (
        "import sys\nfor name in ('click', 'cv2', 'torch', 'onnx', 'onnxruntime', 'PIL'): sys.modules[name] = None\n"
        "from dlcv.benchmarks.gpu_suite import copies, plan_files, plans, validity\n"
        "from dlcv.benchmarks.bench import bare_tensorrt\nfrom dlcv.export.builders import build\n"
        "from dlcv.runtime.sessions import trt\nfrom dlcv.runtime.card.reader import read_card"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_file_to_file_beside_its_bounds(
    tiny_onnx: Path, tiny_scenes: list[Any], tiny_masks: list[Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU, where there is no device time: the session alone stands for it."""
    (folder / "m-fp16.onnx").write_bytes(tiny_onnx.read_bytes())
    np.savez(folder / "m.reference.npz", images=np.stack(tiny_scenes[:4]))
    for name, value in {"WORK_S": 0.05, "PROBE_S": 0.01, "ROUNDS": 2, "LEAST": 8, "BATCHES": (2, 4)}.items():
        monkeypatch.setattr(files, name, value)
    facts = files.measure("m", device="cpu")
    assert [(case["engine"], case["batch"]) for case in facts["files"]] == [("m-fp16.onnx", 2), ("m-fp16.onnx", 4)]
    for case in facts["files"]:
        assert case["tiles"] >= max(8, 4 * case["batch"]) and len(case["rounds"]) == 2
        slower = min(case["session"], case["codec"])
        assert case["of_slower"] == case["of_session"] == pytest.approx(case["file_to_file"] / slower)
        assert set(case["stages_ms"]) >= {"decode", "write"}
    assert json.loads((folder / "files-m.json").read_text())["files"] == facts["files"], "kept as it comes"
    assert files.measure("m", device="cpu", budget_s=0)["cut"] == ["m-fp16.onnx at batch 4, since 0 s were over"]
    with pytest.raises(EngineError, match=r"^no engine of m that this Python runs .*gpu_suite\.plans m$"):
        files.measure("m", "plan")


def test_a_python_without_opencv_is_lent_it(tmp_path: Path) -> None:
    """Under another path than this one's site-packages, which is left out."""
    assert lent.lend(tmp_path) == lent.lend(tmp_path) == ["cv2", "click"]
    code = "import cv2, click; assert cv2.imencode; print(cv2.__version__)"
    numpy_alone = tmp_path / "numpy-alone"
    numpy_alone.mkdir()
    for path in Path(np.__file__).parents[1].glob("numpy*"):
        (numpy_alone / path.name).symlink_to(path)
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], env={"PYTHONPATH": f"{tmp_path}:{numpy_alone}"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_matrix_is_kept_model_by_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = {
        "fcn8s": [SimpleNamespace(stage="a stage", problems=())],
        "cnn3": [SimpleNamespace(stage=None, problems=()), SimpleNamespace(stage="a stage", problems=("NaN",))],
    }
    monkeypatch.setattr("dlcv.benchmarks.parity_suite.matrix.run_suite", lambda models, *_, **__: cells[models[0]])
    monkeypatch.setattr("dlcv.benchmarks.parity_suite.report.lines_of", lambda found: [f"{len(found)} cells"])
    monkeypatch.setattr(matrix, "MODELS", ("fcn8s",))
    assert matrix.check((), 60)["cells"] == ["1 cells"]
    monkeypatch.setattr(matrix, "MODELS", ("fcn8s", "cnn3"))
    assert matrix.check((), 0)["cut"] == ["cnn3, since 0 s were over"]
    with pytest.raises(VerdictError, match=r"^1 cells$"):
        matrix.check((), 60)
    assert json.loads((folder / "matrix.json").read_text())["cells"] == ["3 cells"]
    cells["fcn8s"] = [SimpleNamespace(stage=None, problems=())]
    with pytest.raises(VerdictError, match=r"^nothing ran, so nothing was compared: "):
        matrix.check((), 0)


QUICK = Effort(rounds=8, pairs=8, seconds=0.1, warm_up_s=0.1)


@pytest.mark.slow
def test_graphs_parity_and_bench_on_a_cpu(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is asked of a GPU, with a small model; TF32 and fp16 are computed on a GPU only."""
    pytest.importorskip("onnx")
    monkeypatch.setattr(graphs, "SIDES", {"classification": 32})
    graphs._work(SimpleNamespace(model="cnn3", width=0.1))  # type: ignore[arg-type]
    assert not graphs.graph_path("cnn3", "int8").exists(), (
        "no plan is built of it, and nothing else would run it on a GPU"
    )
    monkeypatch.setattr(parity, "WAYS", (("fp32", "card"), ("fp16", "card")))
    assert set(parity.check("cnn3", "cpu")) == {"fp32"}  # a CPU computes the fp16 graph in float32
    for name, value in {"TILES": 4, "BATCHES": (1, 2, 4), "FILES_BATCH": 2, "EFFORT": QUICK}.items():
        monkeypatch.setattr(bench, name, value)
    monkeypatch.setattr("dlcv.benchmarks.bench.roofline.PRODUCTS", {"cpu": Product(32, 16, 2)})
    facts = bench.measure("cnn3", 600.0, "cpu")
    assert [(case["engine"], case["batch"]) for case in facts["cases"]] == [
        (f"cnn3-{precision}.onnx", batch) for precision in ("fp16", "fp32") for batch in (1, 2, 4)
    ]
    whole = facts["cases"][1]
    assert whole["images_per_s"].keys() == {"host-to-host", "file-to-file"} and whole["of_matrix_rate"] > 0
    assert facts["cut"] == [] and facts["left out"]["int8"] == bench.NO_INT8
    kept = json.loads((folder / "bench-cnn3" / "bench.json").read_text())
    assert kept["kind"] == "dlcv-bench" and len(kept["cases"]) == 6
    _a_budget_cuts_what_would_end_later_and_says_so(folder / "cnn3-fp32.onnx")


@pytest.fixture
def asked(folder: Path, made: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What `dlcv-bench` is asked for; it answers at once, and is stopped the third time."""
    asked: list[Any] = []

    def answer(request: Any, *_: Any) -> Any:
        asked.append(request)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return made.result_of({"dlcv": [1.0, 2.0]}, name=request.engines[0].name, batch=len(asked))

    monkeypatch.setattr("dlcv.benchmarks.bench.run.run_bench", answer)
    for name in ("fcn8s-fp16.onnx", "fcn8s-fp32.onnx", "fcn8s-int8.onnx", "fcn8s-int8.plan", "fcn8s.reference.npz"):
        (folder / name).write_bytes(b"")
    return asked


def test_what_is_worth_most_is_measured_first_and_kept_when_the_rest_is_stopped(folder: Path, asked: list[Any]) -> None:
    with pytest.raises(KeyboardInterrupt):
        bench.measure("fcn8s", 60.0)
    assert [(one.engines[0].name, one.measures) for one in asked] == [
        ("fcn8s-fp16.onnx", measures) for measures in (("host",), ("roofline",), ("host",))
    ]
    assert [one.baselines for one in asked] == [("bare", "torch"), ("bare",), ("bare",)]
    requests = bench._requests("fcn8s", "cuda")
    assert [k for k, one in enumerate(requests) if "compile" in one.baselines] == [len(requests) - 1], (
        "it takes longest"
    )
    opens = [one for one in requests if one.measures == ("files",)]
    assert [one.effort.rounds for one in opens] == [3], "each opens the engine anew"
    assert len(json.loads((folder / "bench-fcn8s" / "bench.json").read_text())["cases"]) == 2
    facts = json.loads((folder / "bench-fcn8s.json").read_text())
    assert len(facts["cases"]) == 2 and facts["cut"] == ["it was stopped"]


@pytest.mark.usefixtures("asked")
def test_a_budget_that_is_over_cuts_what_was_not_begun() -> None:
    facts = bench.measure("fcn8s", 0.0)
    assert len(facts["cases"]) == 1
    assert facts["cut"][0] == "fcn8s-fp16.onnx, --compute card: roofline at batch 16"
    assert facts["cut"][-2:] == [
        "fcn8s-int8.plan, --compute card: host at batch 16, 32, 4, 2", "fcn8s-fp16.onnx, --compute card: host at batch 16"
    ]  # fmt: skip


def test_int8_is_asked_of_a_plan_alone(folder: Path, asked: list[Any]) -> None:
    ways = [
        (one.engines[0].name, one.sessions) for one in bench._requests("fcn8s", "cuda") if "int8" in one.engines[0].name
    ]
    assert ways == [("fcn8s-int8.plan", ("auto",))] * 2
    (folder / "fcn8s-int8.plan").unlink()
    assert not [one for one in bench._requests("fcn8s", "cuda") if "int8" in one.engines[0].name]


def _a_budget_cuts_what_would_end_later_and_says_so(graph: Path) -> None:
    from dlcv.benchmarks.bench.measure import Effort
    from dlcv.benchmarks.bench.request import Request
    from dlcv.benchmarks.bench.run import run_bench

    effort = Effort(rounds=8, pairs=8, seconds=0.1, warm_up_s=0.1)
    request = Request(
        engines=(graph,), devices=("cpu",), sessions=("onnxruntime",), batches=(1, 10000000), effort=effort,
        measures=("host",), baselines=(), budget_s=10.0,
    )  # fmt: skip
    result = run_bench(request)
    assert [case.batch for case in result.cases] == [1]
    (reason,) = result.left_out.values()
    assert reason == "it would not end within the 10 s that are allowed"
