"""Which library opens a plan, and what is told where none can, on the double of TensorRT; and what a plan computes in."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trt_double import CARD, images_of

from dlcv.runtime.errors import EngineError, MissingPackageError, PlanError, PrecisionError
from dlcv.runtime.sessions import cuda, open_session
from dlcv.runtime.sessions.trt import open_plan


@pytest.mark.parametrize("names", [("tensorrt", "tensorrt_lean"), ("tensorrt_lean",)])
def test_a_plan_of_full_tensorrt_takes_tensorrt_then_the_lean_runtime(
    double: Any, world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    path = tmp_path / "full.plan"
    path.write_bytes(double.plan_bytes(CARD.to_json(), magic=b"ftrt", version="10.9.0.34"))
    for name in names:
        monkeypatch.setitem(sys.modules, name, double.make_tensorrt(world, name, "10.9.0.34"))
    with open_plan(path) as session:
        session.run(images_of(1))
    assert ("Runtime", names[0]) in world.calls
    assert ("create_execution_context", False) in world.calls
    assert not path.with_name("full.plan.rtxcache").exists()


def test_preflight_speaks_before_any_library_is_asked(
    double: Any, world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "other.plan"
    path.write_bytes(double.plan_bytes(CARD.to_json(), version="1.6.0.10"))
    with pytest.raises(
        PlanError, match=r"built by TensorRT-RTX 1\.6\.0\.10, and this machine has TensorRT-RTX 1\.7\.1\.116"
    ):
        open_plan(path)
    path.write_bytes(double.plan_bytes(CARD.to_json(), mask=1 << 4))
    with pytest.raises(PlanError, match=r"of compute capability 12\.0, and this machine's NVIDIA Double has 8\.6"):
        open_plan(path)
    monkeypatch.setitem(sys.modules, "tensorrt", double.make_tensorrt(world, "tensorrt", "10.9.0.34"))
    built_elsewhere = CARD.changed(
        versions={"compute_capability": "9.0"}
    )  # full TensorRT's header does not say; the card does
    path.write_bytes(double.plan_bytes(built_elsewhere.to_json(), magic=b"ftrt", version="10.9.0.34"))
    with pytest.raises(PlanError, match=r"of compute capability 9\.0, and this machine's NVIDIA Double has 8\.6"):
        open_plan(path)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'dlcv-edge\[tensorrt\]'"):
        open_plan(path)
    assert world.calls == []


def test_without_pycuda_the_pip_command_is_told(world: Any, plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    with pytest.raises(
        MissingPackageError, match="pycuda is needed to run a TensorRT plan; install it with: pip install pycuda"
    ):
        open_plan(plan)


def test_without_a_driver_no_library_is_loaded_and_the_graph_is_named(
    double: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "driver_problem", lambda: "no NVIDIA driver (libcuda.so.1)")
    for name in ("tensorrt", "tensorrt_lean", "tensorrt_rtx", "pycuda"):
        monkeypatch.setitem(sys.modules, name, None)
    path = tmp_path / "fcn8s.plan"
    path.write_bytes(double.plan_bytes(CARD.to_json()))
    path.with_suffix(".onnx").touch()
    with pytest.raises(
        PlanError,
        match=r"^this machine has no NVIDIA driver \(libcuda\.so\.1\), and .* instead: --engine .*fcn8s\.onnx$",
    ):
        open_session(path)


def test_a_plan_says_what_it_computes_and_what_its_layers_ran_in(world: Any, plan: Path) -> None:
    with open_plan(plan) as session:
        assert session.computes == "fp32" and session.description.endswith(
            " on NVIDIA Double, in fp32, with CUDA graphs"
        )
        assert session.executed() is None, "a plan without its layers' details"
        side = {"Dimensions": [4, 3, 4, 6], "Format/Datatype": "Half"}
        layer = {"Name": "conv", "LayerType": "Conv", "Inputs": [side], "Outputs": [side], "Weights": {"Count": 10}}
        world.layers = json.dumps({"Layers": [layer]})
        ran = session.executed()
        assert ran is not None and ran.multiply_adds == {"fp16": 240}
        assert ran.problems("fp32") == [f"{ran.by} runs 100.0% of the multiply-adds in less than fp32: conv in fp16"]
        assert ("get_engine_information", "JSON", True) in world.calls
    assert session.executed() is None


def test_full_tensorrt_tells_types_for_a_context_that_knows_its_shapes(
    world: Any, double: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a batch varies, as it does in every plan of ours; the context is none that a batch is in."""
    monkeypatch.setitem(sys.modules, "tensorrt", double.make_tensorrt(world, "tensorrt", "8.6.2.3"))
    path = tmp_path / "tiny.plan"
    path.write_bytes(double.plan_bytes(CARD.to_json(), magic=b"ftrt", version="8.6.2.3"))
    side = {"Dimensions": [4, 3, 4, 6], "Format/Datatype": "Row major linear FP32"}
    layer = {"Name": "conv", "LayerType": "CaskConvolution", "Inputs": [side], "Outputs": [side], "Weights": {"Count": 10}}  # fmt: skip
    world.layers = json.dumps({"Layers": [layer]})
    with open_plan(path) as session:
        ran = session.executed()
        assert ran is not None and ran.multiply_adds == {"fp32": 240}
        assert ran.by == "TensorRT 8.6.2.3 on NVIDIA Double"
        images = np.zeros((2, *CARD.input_size_hw, 3), np.uint8)
        assert len(session.run(images)[CARD.head]) == 2, "and the context runs again at its own batch"
    assert session.executed() is None, "closed"


def test_what_a_plan_computes_in_was_decided_when_it_was_built(world: Any, plan: Path) -> None:
    with pytest.raises(EngineError, match=r"^--compute tf32 is for a graph: what .*tiny\.plan computes in was decided"):
        open_session(plan, compute="tf32")
    with pytest.raises(
        EngineError,
        match=r"^openvino runs \.onnx files, and .*tiny\.plan is a \.plan; run the \.onnx beside it$",
    ):
        open_session(plan, session="openvino")
    with open_session(plan, session="tensorrt", device="cuda") as session:
        assert "TensorRT" in session.description


def _layers(**precisions: int) -> str:
    """The inspector's JSON: a layer for each precision, with so many weights."""
    layers = []
    for word, count in precisions.items():
        side = {"Dimensions": [4, 3, 4, 6], "Format/Datatype": word}
        layers.append({"Name": f"conv_{word}", "LayerType": "Conv", "Inputs": [side], "Outputs": [side], "Weights": {"Count": count}})  # fmt: skip
    return json.dumps({"Layers": layers})


@pytest.mark.parametrize(
    ("card", "layers", "problem"),
    [
        ("fp16", {"Float": 10}, "runs 0.0% of the multiply-adds in fp16, expected at least 50%"),
        ("fp16", {"Half": 4, "Int8": 6}, "runs 60.0% of the multiply-adds in less than fp16: conv_Int8 in int8"),
        ("fp32", {"Float": 9, "Half": 1}, "runs 10.0% of the multiply-adds in less than fp32: conv_Half in fp16"),
        ("int8", {"Half": 6, "Int8": 4}, "runs 40.0% of the multiply-adds in int8, expected at least 50%"),
        ("fp16", {"Half": 6, "Float": 4}, ""),
        ("int8", {"Half": 4, "Int8": 6}, ""),
        ("fp16", {"Mystery": 10}, ""),
        ("fp16", {"Half": 1, "Mystery": 10}, ""),
    ],
)
def test_a_plan_that_runs_in_another_type_than_its_card_says_is_refused(
    world: Any, double: Any, plan: Path, card: str, layers: dict[str, int], problem: str
) -> None:
    """As ONNX Runtime and OpenVINO do; words of the inspector that are not known prove nothing either way."""
    plan.write_bytes(double.plan_bytes(CARD.changed(precision=card).to_json()))
    world.layers = _layers(**layers)
    if not problem:
        with open_plan(plan) as session:
            assert len(session.run(images_of(1))[CARD.head]) == 1
        return
    with pytest.raises(PrecisionError) as caught:
        open_plan(plan)
    assert str(caught.value).startswith(f"{plan} is to be computed in {card}, and TensorRT-RTX ")
    assert str(caught.value).endswith(problem)
    assert world.memory == {}, "and nothing is held any more"


def test_a_plan_that_tf32_was_allowed_to_says_tf32(world: Any, double: Any, plan: Path) -> None:
    plan.write_bytes(double.plan_bytes(CARD.changed(versions={"tf32": "yes"}).to_json()))
    world.layers = json.dumps({"Layers": [json.loads(_layers(Float=10))["Layers"][0] | {"TacticName": "sm80_xmma_tf32f32"}]})  # fmt: skip
    with open_plan(plan) as session:
        assert session.computes == "tf32" and ", in tf32, " in session.description
    plan.write_bytes(double.plan_bytes(CARD.to_json()))
    with pytest.raises(PrecisionError, match=r"less than fp32: conv_Float in tf32$"):
        open_plan(plan)


def test_tf32_that_was_allowed_beside_fp16_is_no_fault(world: Any, double: Any, plan: Path) -> None:
    layers = json.loads(_layers(Half=90, Float=10))["Layers"]
    layers[1]["TacticName"] = "sm80_xmma_tf32f32"
    world.layers = json.dumps({"Layers": layers})
    card = CARD.changed(precision="fp16")
    plan.write_bytes(double.plan_bytes(card.to_json()))
    with pytest.raises(PrecisionError, match=r"less than fp16: conv_Float in tf32$"):
        open_plan(plan)
    plan.write_bytes(double.plan_bytes(card.changed(versions={"tf32": "yes"}).to_json()))
    with open_plan(plan) as session:
        assert session.computes == "fp16"


def test_an_inspector_that_answers_otherwise_is_no_reason_to_lose_the_plan(
    world: Any, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dlcv.runtime.sessions import trt

    def refuses(*given: Any) -> Any:
        raise RuntimeError("no such call")

    monkeypatch.setattr(trt, "inspected", refuses)
    with open_plan(plan) as session:
        assert len(session.run(images_of(1))[CARD.head]) == 1
