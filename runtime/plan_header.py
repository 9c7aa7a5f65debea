"""The first bytes of a TensorRT plan, and whether it fits this machine: in words, before a library fails with a code.

A plan of full TensorRT begins with `ftrt`, one of TensorRT-RTX with `vtrt`. In both, bytes 24..27 are the version of
the library that built it: major, minor, patch and build. TensorRT-RTX adds a word at byte 32 with a bit for each
compute capability that the plan was compiled for (found by building for each alone). Standard library only.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from dlcv.runtime.errors import MissingPackageError, PlanError

KINDS = {b"ftrt": "tensorrt", b"vtrt": "tensorrt-rtx"}
"""A plan's magic and what built it; the names are also those of `--builder` and of the pip extras."""
LABELS = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}
INSTALL = {"tensorrt": "pip install 'dlcv-edge[tensorrt]'", "tensorrt-rtx": "pip install 'dlcv-edge[tensorrt-rtx]'"}
RTX_TARGETS = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
"""The compute capabilities of TensorRT-RTX 1.x; the position is the bit in the plan's mask."""
RTX_GPUS = {
    "7.5": "Turing, RTX 20", "8.0": "A100", "8.6": "RTX 30", "8.7": "Jetson Orin", "8.9": "RTX 40, L4, L40",
    "9.0": "H100, H200", "10.0": "B200", "12.0": "RTX 50", "12.1": "DGX Spark",
}  # fmt: skip
"""Where each compute capability is met; those that are not in `RTX_TARGETS` are out of TensorRT-RTX 1.x's reach."""

_HEADER_BYTES = {"tensorrt": 28, "tensorrt-rtx": 36}
_VERSION_AT, _MASK_AT = 24, 32


@dataclass(frozen=True)
class PlanHeader:
    """What a plan's first bytes say.

    Attributes:
        kind: `tensorrt` or `tensorrt-rtx`.
        version: of the library that built it, such as `11.4.0.106`.
        compute_capabilities: that it was compiled for, such as `("8.6", "8.9")`; empty where the header does not say.
        other_targets: whether the mask names targets that this dlcv knows no compute capability for.
    """

    kind: str
    version: str
    compute_capabilities: tuple[str, ...] = ()
    other_targets: bool = False

    @property
    def builder(self) -> str:
        """What built it, in words: `TensorRT-RTX 1.7.1.116`."""
        return f"{LABELS[self.kind]} {self.version}"


def read_plan_header(path: str | Path) -> PlanHeader:
    """Reads the header of a plan.

    Raises:
        PlanError: when the file cannot be read, is not a plan, or is cut short.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(max(_HEADER_BYTES.values()))
    except OSError as error:
        raise PlanError(f"{path} cannot be read: {error.strerror}") from error
    kind = KINDS.get(head[:4])
    if kind is None:
        raise PlanError(
            f"{path} is not a TensorRT plan: it begins with {head[:4]!r}, expected b'ftrt' or b'vtrt'; "
            "make a plan with: dlcv-export --model NAME"
        )
    if len(head) < _HEADER_BYTES[kind]:
        raise PlanError(
            f"{path} is cut short: {len(head)} bytes, and a plan's header alone is {_HEADER_BYTES[kind]}; "
            "copy or export it again"
        )
    version = ".".join(str(byte) for byte in head[_VERSION_AT : _VERSION_AT + 4])
    if kind == "tensorrt":
        return PlanHeader(kind, version)
    (mask,) = struct.unpack_from("<I", head, _MASK_AT)
    targets = tuple(capability for bit, capability in enumerate(RTX_TARGETS) if mask >> bit & 1)
    return PlanHeader(kind, version, targets, other_targets=mask >> len(RTX_TARGETS) != 0)


def preflight(
    header: PlanHeader,
    path: str | Path,
    *,
    driver_problem: str,
    library: str | None,
    library_version: str | None,
    gpu: tuple[str, str] | None,
) -> None:
    """Raises for the first thing that keeps a plan from running here: driver, library, its version, the GPU.

    Args:
        header: of the plan.
        path: of the plan, for the sentences.
        driver_problem: what is wrong with the driver, such as `no NVIDIA driver (libcuda.so.1)`; empty if it works.
        library: the module that would run the plan, `tensorrt`, `tensorrt_lean`, `tensorrt_rtx`; None if there is none.
        library_version: its version.
        gpu: name and compute capability of the GPU, such as `("NVIDIA H200", "9.0")`; None where unknown.

    Raises:
        PlanError: when the plan does not fit this machine.
        MissingPackageError: when the library that runs it is not installed.
    """
    path = Path(path)
    if driver_problem:
        raise PlanError(
            f"this machine has {driver_problem}, and a TensorRT plan runs on an NVIDIA GPU only; "
            f"run the graph it was built from instead: --engine {path.with_suffix('.onnx')}"
        )
    if library is None or library_version is None:
        raise MissingPackageError(
            header.kind.replace("-", "_"), f"run {path}, a plan of {header.builder}", INSTALL[header.kind]
        )
    _check_version(header, path, library, library_version)
    if gpu is not None:
        _check_gpu(header, path, *gpu)


def _check_version(header: PlanHeader, path: Path, library: str, library_version: str) -> None:
    plan, here = _release(header.version), _release(library_version)
    # The lean runtime is there for version-compatible plans, which newer releases also run.
    if plan == here or (library == "tensorrt_lean" and plan < here):
        return
    label = "the lean runtime of TensorRT" if library == "tensorrt_lean" else LABELS[header.kind]
    raise PlanError(
        f"{path} was built by {header.builder}, and this machine has {label} {library_version}, "
        f"which cannot run it; rebuild it for this machine with: {_rebuild(header, path)}"
    )


def _check_gpu(header: PlanHeader, path: Path, name: str, capability: str) -> None:
    targets = header.compute_capabilities
    if not targets and not header.other_targets:
        return
    if capability in targets or (header.other_targets and capability not in RTX_GPUS):
        return
    if header.kind == "tensorrt-rtx" and capability not in RTX_TARGETS:
        remedy = "TensorRT-RTX does not build for it; build on this machine with full TensorRT: " + _rebuild(
            header, path, "tensorrt"
        )
    else:
        remedy = "rebuild it for this GPU with: " + _rebuild(header, path)
    raise PlanError(
        f"{path} was built for GPUs of compute capability {', '.join(targets) or 'unknown to this dlcv'}, "
        f"and this machine's {name} has {capability}; {remedy}"
    )


def _rebuild(header: PlanHeader, path: Path, builder: str = "") -> str:
    return f"dlcv-export --model {path.stem} --builder {builder or header.kind}"


def _release(version: str) -> tuple[int, ...]:
    """Major, minor, patch: engines do not carry between releases; builds of one release are the library's to judge."""
    parts = version.split(".")[:3]
    return tuple(int("".join(c for c in part if c.isdigit()) or 0) for part in parts)
