"""A plan's header: of real TensorRT-RTX plans, built here, and hand-made; and every sentence of the preflight."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from dlcv.runtime.card.plan_header import (
    AMPERE_PLUS,
    RTX_TARGETS,
    Here,
    MisfitError,
    PlanHeader,
    preflight,
    read_plan_header,
    with_card,
)
from dlcv.runtime.errors import MissingPackageError, PlanError

FULL = PlanHeader("tensorrt", "11.4.0.106")
RTX = PlanHeader("tensorrt-rtx", "1.7.1.116", ("8.6", "8.9"))
HERE: dict[str, Any] = {
    "driver_problem": "",
    "library": "tensorrt",
    "library_version": "11.4.0.106",
    "gpu": ("NVIDIA H200", "9.0"),
}
HERE_RTX: dict[str, Any] = {
    "driver_problem": "",
    "library": "tensorrt_rtx",
    "library_version": "1.7.1.116",
    "gpu": ("NVIDIA RTX A6000", "8.6"),
}


def _full_header(version: tuple[int, int, int, int] = (11, 4, 0, 106)) -> bytes:
    return struct.pack("<I", 0x74727466) + bytes(20) + bytes(version)


def _build_rtx_plan(path: Path, capabilities: tuple[str, ...]) -> str:
    """Writes a real plan of a one-layer graph; the version of what built it."""
    trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheels for this Python")
    onnx = pytest.importorskip("onnx")
    image, result = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3, 8, 8]) for name in ("image", "result")
    )
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["image"], ["result"])], "g", [image], [result])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    assert trt.OnnxParser(network, logger).parse(model.SerializeToString())
    config = builder.create_builder_config()
    config.num_compute_capabilities = len(capabilities)
    for index, capability in enumerate(capabilities):
        assert config.set_compute_capability(getattr(trt.ComputeCapability, "SM" + capability.replace(".", "")), index)
    path.write_bytes(builder.build_serialized_network(network, config))
    return str(trt.__version__)


@pytest.mark.parametrize("capabilities", [*((one,) for one in RTX_TARGETS), ("8.6", "12.0"), RTX_TARGETS])
def test_a_real_rtx_plan_says_for_which_gpus_it_was_built(tmp_path: Path, capabilities: tuple[str, ...]) -> None:
    version = _build_rtx_plan(tmp_path / "real.plan", capabilities)
    assert read_plan_header(tmp_path / "real.plan") == PlanHeader("tensorrt-rtx", version, capabilities)


def test_the_targets_are_all_that_rtx_knows() -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheels for this Python")
    known = {name for name in trt.ComputeCapability.__members__ if name.startswith("SM")}
    assert known == {"SM" + target.replace(".", "") for target in RTX_TARGETS}


def test_a_plan_of_full_tensorrt_says_its_version(tmp_path: Path) -> None:
    path = tmp_path / "full.plan"
    path.write_bytes(_full_header())
    assert read_plan_header(path) == FULL
    assert FULL.builder == "TensorRT 11.4.0.106"
    assert RTX.builder == "TensorRT-RTX 1.7.1.116"


def test_targets_that_are_not_known_are_kept_apart(tmp_path: Path) -> None:
    path = tmp_path / "future.plan"
    path.write_bytes(b"vtrt" + bytes(20) + bytes((2, 0, 0, 1)) + b"vtrt" + struct.pack("<I", 0b1000010))
    assert read_plan_header(path) == PlanHeader("tensorrt-rtx", "2.0.0.1", ("8.0",), other_targets=True)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (
            b"",
            "is not a TensorRT plan: it begins with b'', expected b'ftrt' or b'vtrt'; "
            "make a plan with: dlcv-export --model NAME",
        ),
        (b"\x08\x08ONNX", "is not a TensorRT plan: it begins with b'"),
        (b"ftrt" + bytes(20), "is cut short: 24 bytes, and a plan's header alone is 28; copy or export it again"),
        (b"vtrt" + bytes(28), "is cut short: 32 bytes, and a plan's header alone is 36; copy or export it again"),
    ],
)
def test_what_is_no_plan_is_told(tmp_path: Path, data: bytes, sentence: str) -> None:
    path = tmp_path / "x.plan"
    path.write_bytes(data)
    with pytest.raises(PlanError) as caught:
        read_plan_header(path)
    assert str(caught.value).startswith(f"{path} {sentence}")
    assert "\n" not in str(caught.value)


def test_a_plan_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"none\.plan cannot be read: No such file or directory"):
        read_plan_header(tmp_path / "none.plan")


def _refusal(header: PlanHeader, **machine: Any) -> str:
    with pytest.raises((PlanError, MissingPackageError)) as caught:
        preflight(header, "models/fcn8s.plan", Here(**machine))
    return str(caught.value)


def test_what_fits_passes() -> None:
    preflight(FULL, "fcn8s.plan", Here(**(HERE)))
    preflight(RTX, "fcn8s.plan", Here(**(HERE_RTX)))
    preflight(RTX, "fcn8s.plan", Here(**(HERE_RTX | {"gpu": None})))


def test_the_driver_is_told_before_anything_else() -> None:
    nothing = {
        "driver_problem": "no NVIDIA driver (libcuda.so.1)",
        "library": None,
        "library_version": None,
        "gpu": None,
    }
    assert _refusal(FULL, **nothing) == (
        "this machine has no NVIDIA driver (libcuda.so.1), and a TensorRT plan runs on an NVIDIA GPU only; "
        "run the graph it was built from instead, which is not beside it: copy it here, or make one with: dlcv-export --format onnx"
    )


@pytest.mark.parametrize(("header", "package"), [(FULL, "tensorrt"), (RTX, "tensorrt-rtx")])
def test_a_missing_library_is_told_with_its_pip_command(header: PlanHeader, package: str) -> None:
    assert _refusal(header, **HERE | {"library": None, "library_version": None}) == (
        f"{package.replace('-', '_')} is needed to run models/fcn8s.plan, a plan of {header.builder}; "
        f"install it with: pip install 'dlcv-edge[{package}]'"
    )


def test_another_version_is_told_with_both_before_the_gpu() -> None:
    assert _refusal(FULL, **HERE | {"library_version": "10.9.0.34"}) == (
        "models/fcn8s.plan was built by TensorRT 11.4.0.106, and this machine has TensorRT 10.9.0.34, which cannot "
        "run it; "
        "rebuild it for this machine with: dlcv-export --model fcn8s --format plan --builder tensorrt"
    )
    assert "TensorRT-RTX 1.6.0.5, which cannot run it" in _refusal(
        RTX, **HERE_RTX | {"library_version": "1.6.0.5", "gpu": ("NVIDIA H200", "9.0")}
    )


def test_the_lean_runtime_takes_older_plans_and_no_newer_ones() -> None:
    preflight(
        PlanHeader("tensorrt", "10.9.0.34", version_compatible=True),
        "fcn8s.plan",
        Here(**(HERE | {"library": "tensorrt_lean"})),
    )
    refusal = _refusal(FULL, **HERE | {"library": "tensorrt_lean", "library_version": "10.9.0.34"})
    assert "this machine has the lean runtime of TensorRT 10.9.0.34, which cannot run it" in refusal


def test_a_build_of_the_same_release_is_the_librarys_to_judge() -> None:
    preflight(
        FULL, "fcn8s.plan", Here(**(HERE | {"library_version": "11.4.0"}))
    )  # 8.6's module states three numbers only


def test_another_gpu_is_told_with_both() -> None:
    assert _refusal(RTX, **HERE_RTX | {"gpu": ("NVIDIA GeForce RTX 5090", "12.0")}) == (
        "models/fcn8s.plan was built for GPUs of compute capability 8.6, 8.9, and this machine's NVIDIA GeForce RTX "
        "5090 has 12.0; "
        "rebuild it for this GPU with: dlcv-export --model fcn8s --format plan --builder tensorrt-rtx"
    )
    full_for_86 = PlanHeader("tensorrt", "11.4.0.106", ("8.6",))  # where the card says it
    assert _refusal(full_for_86, **HERE).endswith(
        "this machine's NVIDIA H200 has 9.0; rebuild it for this GPU with: dlcv-export --model fcn8s --format plan --builder tensorrt"
    )


@pytest.mark.parametrize("other_targets", [False, True])
def test_a_gpu_out_of_rtxs_reach_is_sent_to_full_tensorrt(other_targets: bool) -> None:
    header = PlanHeader(RTX.kind, RTX.version, RTX.compute_capabilities, other_targets)
    assert _refusal(header, **HERE_RTX | {"gpu": ("NVIDIA H200", "9.0")}) == (
        "models/fcn8s.plan was built for GPUs of compute capability 8.6, 8.9, and this machine's NVIDIA H200 has 9.0; "
        "TensorRT-RTX does not build for it; build on this machine with full TensorRT: dlcv-export --model fcn8s "
        "--format plan --builder tensorrt"
    )


def test_a_gpu_newer_than_this_dlcv_is_left_to_the_library_where_the_mask_names_unknown_targets() -> None:
    header = PlanHeader(RTX.kind, RTX.version, RTX.compute_capabilities, other_targets=True)
    preflight(header, "fcn8s.plan", Here(**(HERE_RTX | {"gpu": ("NVIDIA Next", "13.0")})))


LEAN = HERE | {"library": "tensorrt_lean"}


@pytest.mark.parametrize(
    ("version", "compatible", "machine", "runs"),
    [
        ("10.9.0.34", True, LEAN, True),
        ("10.9.0.34", False, LEAN, False),  # without the flag even the lean runtime takes its own release alone
        ("8.6.0.12", True, LEAN, False),  # 11 runs those of 10 and later
        ("8.6.0.12", True, LEAN | {"library_version": "10.9.0.34"}, True),
        ("10.9.0.34", True, HERE, False),  # the full runtime would look for a lean one inside, which is left out
    ],
)
def test_version_compatible_plans_run_on_newer_releases(
    version: str, compatible: bool, machine: Any, runs: bool
) -> None:
    header = PlanHeader("tensorrt", version, version_compatible=compatible)
    if runs:
        preflight(header, "fcn8s.plan", Here(**machine))
    else:
        assert "which cannot run it" in _refusal(header, **machine)


def test_a_plan_for_ampere_and_later_runs_on_all_of_them() -> None:
    header = with_card(FULL, {"compute_capability": AMPERE_PLUS, "version_compatible": "yes"})
    assert (header.compute_capabilities, header.version_compatible) == (("8.0+",), True)
    for capability in ("8.0", "8.6", "9.0", "12.0"):
        preflight(header, "fcn8s.plan", Here(**HERE | {"gpu": ("NVIDIA", capability)}))
    assert "was built for GPUs of compute capability 8.0+" in _refusal(header, **HERE | {"gpu": ("NVIDIA T4", "7.5")})


def test_the_command_is_the_one_that_helps_here(tmp_path: Path) -> None:
    plan = tmp_path / "a model.plan"
    (tmp_path / "a model.onnx").touch()
    with pytest.raises(MisfitError) as caught:
        preflight(RTX, plan, Here(**HERE_RTX | {"gpu": ("NVIDIA GeForce RTX 2080", "7.5")}), max_batch=4)
    graph = str(tmp_path / "a model.onnx")
    assert caught.value.arguments == ("--onnx", graph, "--builder", "tensorrt-rtx", "--max-batch", "4", "--compute-capability", "7.5")  # fmt: skip
    assert str(caught.value).endswith(f"dlcv-export --onnx '{graph}' --builder tensorrt-rtx --max-batch 4 --compute-capability 7.5")  # fmt: skip
    assert (
        caught.value.summary
        == "built by TensorRT-RTX 1.7.1.116 for compute capability 8.6, 8.9; this is 1.7.1.116 on 7.5"
    )
