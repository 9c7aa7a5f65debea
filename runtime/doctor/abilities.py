"""What can be built and run on a machine, from what was found on it; and for what cannot, what is missing."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dlcv.runtime.card.plan_header import INSTALL, LABELS, RTX_TARGETS
from dlcv.runtime.doctor.packages import ONNX_RUNTIME, Advice, preferred, unfit
from dlcv.runtime.doctor.probes import Loaded

_TRAIN = ("torch", "safetensors")
_EXPORT = (*_TRAIN, "onnx", "onnxscript")
_EXTRA = {_TRAIN: "pip install 'dlcv-edge[train]'", _EXPORT: "pip install 'dlcv-edge[export]'"}
_RUNTIME = ("numpy", "cv2", "PIL")


@dataclass(frozen=True)
class Machine:
    """What was found.

    Attributes:
        packages: distribution -> version, of those that are installed.
        loaded: module -> what became of loading it, of those that are installed.
        driver: what `gpus.list_gpus` gives.
    """

    packages: Mapping[str, str]
    loaded: Mapping[str, Loaded]
    driver: Mapping[str, Any]

    def loads(self, module: str) -> bool:
        return module in self.loaded and not self.loaded[module].problem


@dataclass(frozen=True)
class Ability:
    """Something that dlcv does.

    Attributes:
        what: in words.
        hindrance: what keeps it from being done here; None where nothing is known to.
    """

    what: str
    hindrance: Advice | None


def abilities_of(machine: Machine) -> list[Ability]:
    """What can be done on a machine, and what not."""
    return [
        Ability("run an .onnx on the CPU", _onnx(machine, "CPUExecutionProvider")),
        Ability("run an .onnx with OpenVINO, the fastest on a CPU", _openvino(machine)),
        Ability("run an .onnx through CUDA", _onnx(machine, "CUDAExecutionProvider") or _gpu(machine)),
        *(Ability(f"run a plan of {LABELS[kind]}", _run_plan(machine, kind)) for kind in LABELS),
        Ability(
            "run georeferenced and very large images", _package(machine, "rasterio", "pip install 'dlcv-edge[geo]'")
        ),
        Ability("check signatures", _package(machine, "py-minisign", "pip install 'dlcv-edge[sign]'")),
        Ability("train", _extra(machine, _TRAIN)),
        Ability("export to .onnx", _extra(machine, _EXPORT)),
        *(Ability(f"build a plan with {LABELS[kind]}", _build_plan(machine, kind)) for kind in LABELS),
    ]


def _onnx(machine: Machine, provider: str) -> Advice | None:
    for module in (*_RUNTIME, "onnxruntime"):
        if not machine.loads(module):
            return Advice(f"{module} does not load (see above)")
    if provider in machine.loaded["onnxruntime"].providers:
        return None
    here = " ".join(name for name in ONNX_RUNTIME if name in machine.packages)
    wheel = provider == "CUDAExecutionProvider" and here and preferred(ONNX_RUNTIME) == "onnxruntime-gpu"
    command = f"pip uninstall -y {here} && pip install onnxruntime-gpu" if wheel else ""
    return Advice(f"this build of ONNX Runtime has no {provider}", command)


def _openvino(machine: Machine) -> Advice | None:
    command = "pip install 'dlcv-edge[openvino]'"
    if "openvino" not in machine.loaded:
        return Advice("openvino is not installed", command)
    if problem := machine.loaded["openvino"].problem:
        return Advice(f"openvino is installed and does not load ({problem})", command)
    lacking = next((module for module in _RUNTIME if not machine.loads(module)), "")
    return Advice(f"{lacking} does not load (see above)") if lacking else unfit("openvino", machine.packages)


def _gpu(machine: Machine) -> Advice | None:
    problem = machine.driver["problem"]
    return Advice(f"this machine has {problem}") if problem else None


def _run_plan(machine: Machine, kind: str) -> Advice | None:
    modules = ("tensorrt", "tensorrt_lean") if kind == "tensorrt" else ("tensorrt_rtx",)
    return (
        _gpu(machine)
        or _rtx_reach(machine, kind)
        or (None if any(map(machine.loads, modules)) else _library(machine, kind))
        or _package(machine, "pycuda", "pip install pycuda")
    )


def _build_plan(machine: Machine, kind: str) -> Advice | None:
    needs_gpu = kind == "tensorrt"
    return (
        (_gpu(machine) if needs_gpu else None)
        or (None if machine.loads(kind.replace("-", "_")) else _library(machine, kind))
        or _extra(machine, _EXPORT)
    )


def _library(machine: Machine, kind: str) -> Advice:
    module = kind.replace("-", "_")
    if module in machine.loaded:
        return Advice(f"{module} is installed and does not load ({machine.loaded[module].problem})", INSTALL[kind])
    if kind == "tensorrt-rtx" and not _rtx_wheel():
        here = f"Python {platform.python_version()} on {sys.platform} {platform.machine()}"
        return Advice(f"TensorRT-RTX has no package for {here}; it needs Python 3.11 on x86-64")
    return Advice(f"{module} is not installed", INSTALL[kind])


def _rtx_wheel() -> bool:
    return sys.version_info >= (3, 11) and platform.machine() in ("x86_64", "AMD64")


def _rtx_reach(machine: Machine, kind: str) -> Advice | None:
    """TensorRT-RTX has a list of GPUs; one of them is enough."""
    gpus = machine.driver["gpus"]
    if kind != "tensorrt-rtx" or any(gpu["compute_capability"] in RTX_TARGETS for gpu in gpus):
        return None
    names = ", ".join(f"{gpu['name']}, {gpu['compute_capability']}" for gpu in gpus) or "none"
    return Advice(f"it runs on compute capability {', '.join(RTX_TARGETS)}, and the GPU here is {names}")


def _extra(machine: Machine, names: tuple[str, ...]) -> Advice | None:
    absent = [name for name in names if name not in machine.packages]
    if absent:
        return Advice(f"{', '.join(absent)} {'is' if len(absent) == 1 else 'are'} not installed", _EXTRA[names])
    return next((found for name in names if (found := unfit(name, machine.packages))), None)


def _package(machine: Machine, name: str, command: str) -> Advice | None:
    if name not in machine.packages:
        return Advice(f"{name} is not installed", command)
    return unfit(name, machine.packages)
