"""A diagnosis as lines for people."""

from __future__ import annotations

from dlcv.runtime.doctor import NOT_CHECKED, Diagnosis
from dlcv.runtime.doctor.packages import Advice
from dlcv.runtime.errors import one_line


def diagnosis_text(found: Diagnosis) -> str:
    """The diagnosis, a fact a line."""
    system = found.system
    lines = [
        f"dlcv {system['dlcv']}, Python {system['python']} ({system['executable']})",
        f"{system['platform']}; {system['cpu']}, {system['cores']} cores",
        *_section("Packages", [f"{name} {version}" for name, version in found.machine.packages.items()]),
        *_section("Libraries that were loaded, each in a process of its own", _libraries(found)),
        *_section("GPUs", _gpus(found)),
        *_section("Here dlcv can", [a.what for a in found.abilities if a.hindrance is None] or ["do nothing"]),
        *_section("and cannot", [_hindered(a.what, a.hindrance) for a in found.abilities if a.hindrance]),
        *_section("Should be mended", [str(advice) for advice in found.warnings]),
        *_section("BROKEN", [str(advice) for advice in found.broken]),
        *_section("Not checked", list(NOT_CHECKED)),
    ]
    return "\n".join(one_line(line) for line in lines)


def _section(title: str, lines: list[str]) -> list[str]:
    return ["", title, *(f"  {line}" for line in lines)] if lines else []


def _hindered(what: str, advice: Advice) -> str:
    return f"{what}: {advice.problem}" + (f"; get it with: {advice.command}" if advice.command else "")


def _libraries(found: Diagnosis) -> list[str]:
    lines = []
    for name, loaded in found.machine.loaded.items():
        providers = f": {', '.join(loaded.providers)}" if loaded.providers else ""
        lines.append(
            f"{name} {loaded.version}{providers}" if not loaded.problem else f"{name} FAILED: {loaded.problem}"
        )
    return lines


def _gpus(found: Diagnosis) -> list[str]:
    driver = found.machine.driver
    if driver["problem"]:
        return [f"none: this machine has {driver['problem']}"]
    return [
        f"{gpu['name']}, compute capability {gpu['compute_capability']}, {gpu['memory_bytes'] / 2**30:.1f} GiB"
        for gpu in driver["gpus"]
    ] + [f"driver for CUDA up to {driver['cuda']}"]
