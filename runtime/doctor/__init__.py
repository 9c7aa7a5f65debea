"""What a machine can do: `examine` looks at Python, packages, driver, GPUs and libraries, and says what is missing."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dlcv.runtime.doctor import packages, probes
from dlcv.runtime.doctor.abilities import Ability, Machine, abilities_of
from dlcv.runtime.doctor.packages import NEEDED, Advice
from dlcv.runtime.machine import cpu_count, cpu_name
from dlcv.runtime.version import __version__

__all__ = ["Diagnosis", "diagnose", "examine"]

SESSION_MODULES = ("tensorrt", "tensorrt_lean", "tensorrt_rtx", "openvino")
NOT_CHECKED = (
    "torch, onnx, onnxscript, pycuda, isal, simplejpeg, rasterio and py-minisign were not imported: their metadata was read",
    "nothing was computed on a GPU: whether CUDA's and cuDNN's libraries fit shows when a session opens",
    "no plan was built; free memory, disk space and the network were not looked at",
)


@dataclass(frozen=True)
class Diagnosis:
    """What was found on a machine.

    Attributes:
        system: dlcv, Python, platform and CPU, by name.
        machine: packages, loaded libraries and the driver.
        broken: what dlcv needs and does not work.
        warnings: what works and should be mended.
        abilities: what can be built and run.
    """

    system: Mapping[str, Any]
    machine: Machine
    broken: tuple[Advice, ...]
    warnings: tuple[Advice, ...]
    abilities: tuple[Ability, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "system": dict(self.system),
            "packages": dict(self.machine.packages),
            "loaded": {name: asdict(found) for name, found in self.machine.loaded.items()},
            "driver": dict(self.machine.driver),
            "broken": [asdict(advice) for advice in self.broken],
            "warnings": [asdict(advice) for advice in self.warnings],
            "abilities": [
                {
                    "what": ability.what,
                    "possible": ability.hindrance is None,
                    "hindrance": ability.hindrance.problem if ability.hindrance else "",
                    "command": ability.hindrance.command if ability.hindrance else "",
                }
                for ability in self.abilities
            ],
            "not_checked": list(NOT_CHECKED),
        }


def examine() -> Diagnosis:
    """Looks at this machine; each library is loaded in a process of its own, and none in this one."""
    loaded = probes.load_modules((*NEEDED, *SESSION_MODULES))
    return diagnose(_system(), Machine(packages.installed_packages(), loaded, probes.driver()))


def diagnose(system: Mapping[str, Any], machine: Machine) -> Diagnosis:
    """What follows from what was found."""
    installed = machine.packages
    broken = packages.missing(installed, machine.loaded)
    warnings = packages.doubled(installed)
    needed = {name for family in NEEDED.values() for name in family}
    for name in installed:
        if advice := packages.unfit(name, installed):
            (broken if name in needed else warnings).append(advice)
    for module, distributions in NEEDED.items():
        here = [name for name in distributions if name in installed]
        if module in machine.loaded and (problem := machine.loaded[module].problem):
            again = f"pip install --force-reinstall --no-deps {here[0]}" if here else ""
            broken.append(Advice(f"{module} is installed and does not load ({problem})", again))
        elif module not in machine.loaded and here:
            again = f"pip install --force-reinstall --no-deps {here[0]}"
            broken.append(Advice(f"{here[0]} is installed and has no module {module}: files are missing", again))
    for module in SESSION_MODULES:
        if module in machine.loaded and (problem := machine.loaded[module].problem):
            warnings.append(Advice(f"{module} is installed and does not load ({problem})"))
    if machine.driver["problem"] and machine.driver["kernel_driver"]:
        warnings.append(Advice(f"the kernel has an NVIDIA driver, and this machine has {machine.driver['problem']}"))
    return Diagnosis(system, machine, tuple(broken), tuple(warnings), tuple(abilities_of(machine)))


def _system() -> dict[str, Any]:
    return {
        "dlcv": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cores": cpu_count(),
    }
