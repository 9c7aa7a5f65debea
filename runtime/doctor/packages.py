"""Which packages are installed, read from their metadata; nothing is imported."""

from __future__ import annotations

import platform
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata

OPENCV = (
    "opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python",
)  # fmt: skip
ONNX_RUNTIME = (
    "onnxruntime-gpu", "onnxruntime", "onnxruntime-openvino", "onnxruntime-directml", "onnxruntime-rocm",
)  # fmt: skip
FAMILIES = {"OpenCV": OPENCV, "ONNX Runtime": ONNX_RUNTIME}
"""Label -> distributions that write into one folder: of two, the one installed later wins, and removing either breaks both."""
TENSORRT = (
    "tensorrt", "tensorrt-cu11", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-lean", "tensorrt-rtx",
    "tensorrt-rtx-cu12", "tensorrt-rtx-cu13",
)  # fmt: skip
LOWEST = {
    "numpy": "1.26", "pillow": "10.3", "click": "8.1", **dict.fromkeys(OPENCV, "4.8.1.78"), **dict.fromkeys(ONNX_RUNTIME, "1.19"),
    "torch": "2.6", "safetensors": "0.4", "onnx": "1.17", "onnxscript": "0.5", "tensorrt": "8.6", "pycuda": "2024.1",
    "isal": "1.7", "simplejpeg": "1.7", "tensorrt-rtx-cu13": "1.4", "openvino": "2025.0",
    "rasterio": "1.3.10", "py-minisign": "0.21",
}  # fmt: skip
"""The lowest version of each that dlcv works with; as in setup.cfg."""
BELOW = {"numpy": "2.5"}
"""The lowest version that it does not work with; as in setup.cfg."""
NEEDED: dict[str, tuple[str, ...]] = {
    "numpy": ("numpy",), "PIL": ("pillow",), "click": ("click",), "cv2": OPENCV, "onnxruntime": ONNX_RUNTIME,
}  # fmt: skip
"""Module -> the distributions that bring it, of what dlcv cannot do without."""
LABELS = {"cv2": "OpenCV", "onnxruntime": "ONNX Runtime"}
OPTIONAL = (
    "torch", "safetensors", "onnx", "onnxscript", *TENSORRT, "pycuda", "isal", "simplejpeg", "openvino", "rasterio", "py-minisign",
)  # fmt: skip


@dataclass(frozen=True)
class Advice:
    """Something that is wrong, and what mends it.

    Attributes:
        problem: a sentence without its full stop.
        command: what to type; empty where no single command helps.
    """

    problem: str
    command: str = ""

    def __str__(self) -> str:
        return f"{self.problem}; mend it with: {self.command}" if self.command else self.problem


def installed_packages() -> dict[str, str]:
    """Version of each distribution above that is installed, in the order of the lists."""
    found = {}
    for name in (*(name for family in NEEDED.values() for name in family), *OPTIONAL):
        try:
            version = metadata.version(name)
        except (metadata.PackageNotFoundError, ValueError):
            continue
        found[name] = version or "unknown"  # a damaged installation may have metadata without a version
    return found


def preferred(family: Sequence[str]) -> str:
    """The distribution of a family that setup.cfg asks for on this machine."""
    if family is not ONNX_RUNTIME:
        return family[0]
    gpu = (sys.platform, platform.machine()) in (("linux", "x86_64"), ("win32", "AMD64"))
    return "onnxruntime-gpu" if gpu else "onnxruntime"


def doubled(installed: Mapping[str, str]) -> list[Advice]:
    """Families of which more than one is installed."""
    found = []
    for label, family in FAMILIES.items():
        here = [name for name in family if name in installed]
        if len(here) > 1:
            problem = f"{label} is installed {len(here)} times ({', '.join(here)}), and the later one wins silently"
            command = f"pip uninstall -y {' '.join(here)} && pip install {_requirement(preferred(family))}"
            found.append(Advice(problem, command))
    return found


def missing(installed: Mapping[str, str], modules: Collection[str]) -> list[Advice]:
    """What dlcv cannot do without and is not there.

    Args:
        installed: what `installed_packages` gave.
        modules: that were found; conda and Linux distributions bring some of them without pip's metadata.
    """
    return [
        Advice(f"{LABELS.get(module, family[0])} is not installed", f"pip install {_requirement(preferred(family))}")
        for module, family in NEEDED.items()
        if module not in modules and not any(name in installed for name in family)
    ]


def unfit(name: str, installed: Mapping[str, str]) -> Advice | None:
    """What is wrong with an installed distribution's version; None where nothing is known to be, or it is not installed."""
    version = installed.get(name)
    if version is None:
        return None
    command = f"pip install {_requirement(name)}"
    if name in LOWEST and _release(version) < _release(LOWEST[name]):
        return Advice(f"{name} {version} is older than {LOWEST[name]}", command)
    if name in BELOW and _release(version) >= _release(BELOW[name]):
        return Advice(f"{name} {version} is too new: dlcv knows it below {BELOW[name]}", command)
    return None


def _requirement(name: str) -> str:
    below = f",<{BELOW[name]}" if name in BELOW else ""
    return f"'{name}>={LOWEST[name]}{below}'" if name in LOWEST else name


def _release(version: str) -> tuple[int, ...]:
    """The numbers at the start: (2, 13) of `2.13.0+cpu`; zeros at the end say nothing."""
    numbers: list[int] = []
    for part in version.split("+", maxsplit=1)[0].split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits[:9]))
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
