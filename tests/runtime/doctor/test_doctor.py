"""What follows from what was found, on machines made up here; and on this one, by the command's own way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from dlcv.runtime.doctor import NOT_CHECKED, diagnose, examine
from dlcv.runtime.doctor.abilities import Machine
from dlcv.runtime.doctor.packages import Advice
from dlcv.runtime.doctor.probes import Loaded
from dlcv.runtime.doctor.report import diagnosis_text

SYSTEM = {"dlcv": "0", "python": "3.11.7", "executable": "python", "platform": "Linux", "cpu": "CPU", "cores": 2}
PACKAGES = {
    "numpy": "2.4.0",
    "pillow": "12.0",
    "click": "8.1",
    "opencv-python-headless": "4.11",
    "onnxruntime-gpu": "1.23",
}
EXPORT = {"torch": "2.13.0+cpu", "safetensors": "0.8", "onnx": "1.23", "onnxscript": "0.7"}
LOADED = {name: Loaded("1") for name in ("numpy", "PIL", "click", "cv2")} | {
    "onnxruntime": Loaded("1.23", providers=("CUDAExecutionProvider", "CPUExecutionProvider"))
}
NO_DRIVER = {"problem": "no NVIDIA driver (libcuda.so.1)", "kernel_driver": "", "cuda": "", "gpus": []}


def gpu(name: str, capability: str) -> dict[str, Any]:
    one = {"name": name, "compute_capability": capability, "memory_bytes": 1 << 34}
    return {"problem": "", "kernel_driver": "NVRM", "cuda": "13.0", "gpus": [one]}


def machine(
    packages: Mapping[str, str] | None = None, loaded: Mapping[str, Loaded] | None = None, driver: Any = NO_DRIVER
) -> Machine:
    return Machine({**PACKAGES, **(packages or {})}, {**LOADED, **(loaded or {})}, driver)


def possible(found: Machine) -> set[str]:
    return {ability.what for ability in diagnose(SYSTEM, found).abilities if ability.hindrance is None}


def hindrance(found: Machine, what: str) -> str:
    (advice,) = [ability.hindrance for ability in diagnose(SYSTEM, found).abilities if ability.what == what]
    return str(advice)


def test_the_runtime_on_a_machine_without_a_gpu() -> None:
    found = diagnose(SYSTEM, machine())
    assert (found.broken, found.warnings) == ((), ())
    assert possible(machine()) == {"run an .onnx on the CPU"}
    assert hindrance(machine(), "export to .onnx").endswith("pip install 'dlcv-edge[export]'")
    assert "torch, safetensors are not installed" in hindrance(machine(), "train")


def test_everything() -> None:
    libraries = {"tensorrt": Loaded("11.4"), "tensorrt_rtx": Loaded("1.7"), "openvino": Loaded("2026.4.1")}
    extras = {"pycuda": "2026.1", "rasterio": "1.4", "py-minisign": "0.21"}
    whole = machine({**EXPORT, **extras}, libraries, gpu("RTX 4090", "8.9"))
    assert len(possible(whole)) == len(diagnose(SYSTEM, whole).abilities) == 11
    text = diagnosis_text(diagnose(SYSTEM, whole))
    assert "RTX 4090, compute capability 8.9, 16.0 GiB" in text
    assert "and cannot" not in text


def test_what_a_gpu_alone_lacks() -> None:
    bare = machine(EXPORT, driver=gpu("H200", "9.0"))
    assert hindrance(bare, "run a plan of TensorRT").endswith("pip install 'dlcv-edge[tensorrt]'")
    assert "the GPU here is H200, 9.0" in hindrance(bare, "run a plan of TensorRT-RTX")
    lean = machine(EXPORT, {"tensorrt_lean": Loaded("10.9")}, gpu("H200", "9.0"))
    assert hindrance(lean, "run a plan of TensorRT") == "pycuda is not installed; mend it with: pip install pycuda"
    assert "tensorrt is not installed" in hindrance(lean, "build a plan with TensorRT")


def test_openvino_and_what_is_wrong_with_it() -> None:
    what = "run an .onnx with OpenVINO, the fastest on a CPU"
    command = "mend it with: pip install 'dlcv-edge[openvino]'"
    assert hindrance(machine(), what) == f"openvino is not installed; {command}"
    assert what in possible(machine({"openvino": "2026.4.1"}, {"openvino": Loaded("2026.4.1")}))
    broken = machine({"openvino": "2026.4.1"}, {"openvino": Loaded(problem="ImportError: libtbb.so.12")})
    assert hindrance(broken, what) == f"openvino is installed and does not load (ImportError: libtbb.so.12); {command}"
    assert diagnose(SYSTEM, broken).broken == ()
    assert [advice.problem for advice in diagnose(SYSTEM, broken).warnings] == [hindrance(broken, what).split(";")[0]]
    old = machine({"openvino": "2024.6.0"}, {"openvino": Loaded("2024.6.0")})
    assert hindrance(old, what).startswith("openvino 2024.6.0 is older than 2025.0")
    no_cv2 = machine(
        {"openvino": "2026.4.1"}, {"openvino": Loaded("2026.4.1"), "cv2": Loaded(problem="ImportError: x")}
    )
    assert hindrance(no_cv2, what) == "cv2 does not load (see above)"


def test_extras_that_are_missing_or_old() -> None:
    large, sign = "run georeferenced and very large images", "check signatures"
    assert hindrance(machine(), large) == "rasterio is not installed; mend it with: pip install 'dlcv-edge[geo]'"
    assert hindrance(machine(), sign) == "py-minisign is not installed; mend it with: pip install 'dlcv-edge[sign]'"
    assert hindrance(machine({"rasterio": "1.2.1"}), large).startswith("rasterio 1.2.1 is older than 1.3.10")
    assert {large, sign} <= set(possible(machine({"rasterio": "1.4.3", "py-minisign": "0.21"})))


def test_rtx_builds_without_a_gpu() -> None:
    assert "build a plan with TensorRT-RTX" in possible(machine(EXPORT, {"tensorrt_rtx": Loaded("1.7")}))


def test_a_build_of_onnx_runtime_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = Machine(
        {**{k: v for k, v in PACKAGES.items() if k != "onnxruntime-gpu"}, "onnxruntime": "1.23"},
        {**LOADED, "onnxruntime": Loaded("1.23", providers=("CPUExecutionProvider",))},
        gpu("RTX 4090", "8.9"),
    )
    monkeypatch.setattr("dlcv.runtime.doctor.abilities.preferred", lambda _: "onnxruntime-gpu")
    command = "pip uninstall -y onnxruntime && pip install onnxruntime-gpu"
    assert hindrance(cpu, "run an .onnx through CUDA").endswith(command)
    monkeypatch.setattr(
        "dlcv.runtime.doctor.abilities.preferred", lambda _: "onnxruntime"
    )  # no such package for this CPU
    assert hindrance(cpu, "run an .onnx through CUDA") == "this build of ONNX Runtime has no CUDAExecutionProvider"


def test_two_builds_are_a_warning_with_the_command() -> None:
    found = diagnose(SYSTEM, machine({"opencv-python": "4.11"}))
    assert found.broken == ()
    assert found.warnings == (
        Advice(
            "OpenCV is installed 2 times (opencv-python-headless, opencv-python), and the later one wins silently",
            "pip uninstall -y opencv-python-headless opencv-python && pip install 'opencv-python-headless>=4.8.1.78'",
        ),
    )


def test_what_is_needed_and_does_not_load_is_broken() -> None:
    found = diagnose(SYSTEM, machine(loaded={"cv2": Loaded(problem="ImportError: libGL.so.1")}))
    (advice,) = found.broken
    assert str(advice) == (
        "cv2 is installed and does not load (ImportError: libGL.so.1); "
        "mend it with: pip install --force-reinstall --no-deps opencv-python-headless"
    )
    assert "cv2 does not load" in hindrance(found.machine, "run an .onnx on the CPU")
    assert "BROKEN" in diagnosis_text(found)


def test_metadata_without_the_module_is_broken() -> None:
    found = diagnose(SYSTEM, Machine(PACKAGES, {k: v for k, v in LOADED.items() if k != "cv2"}, NO_DRIVER))
    assert [advice.problem for advice in found.broken] == [
        "opencv-python-headless is installed and has no module cv2: files are missing"
    ]


def test_a_module_without_metadata_is_not() -> None:
    """conda and Linux distributions bring OpenCV like that."""
    without = {name: version for name, version in PACKAGES.items() if "opencv" not in name}
    assert diagnose(SYSTEM, Machine(without, LOADED, NO_DRIVER)).broken == ()


def test_a_driver_in_the_kernel_that_does_not_answer_is_a_warning() -> None:
    found = diagnose(SYSTEM, machine(driver={**NO_DRIVER, "kernel_driver": "NVRM version: 580"}))
    assert [advice.problem for advice in found.warnings] == [
        "the kernel has an NVIDIA driver, and this machine has no NVIDIA driver (libcuda.so.1)"
    ]


def test_an_old_optional_package_is_a_warning_and_hinders() -> None:
    old = machine({**EXPORT, "torch": "2.1.0"})
    assert [advice.problem for advice in diagnose(SYSTEM, old).warnings] == ["torch 2.1.0 is older than 2.6"]
    assert "torch 2.1.0 is older than 2.6" in hindrance(old, "train")


def test_nothing_a_package_says_moves_the_cursor() -> None:
    text = diagnosis_text(diagnose(SYSTEM, machine({"torch": "1\x1b[2J\n"})))
    assert "\x1b" not in text and "torch 1\\x1b[2J\\n" in text


def test_this_machine() -> None:
    found = examine()
    assert found.broken == ()
    assert "run an .onnx on the CPU" in possible(found.machine)
    values = json.loads(json.dumps(found.to_dict()))
    assert values["packages"]["click"]
    assert values["not_checked"] == list(NOT_CHECKED)
