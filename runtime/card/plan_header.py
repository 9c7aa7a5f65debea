"""The first bytes of a TensorRT plan, and whether it fits this machine: in words, before a library fails with a code.

What does not fit is told with the command that builds the plan anew for this machine.

A plan of full TensorRT begins with `ftrt`, one of TensorRT-RTX with `vtrt`. In both, bytes 24..27 are the version of
the library that built it: major, minor, patch and build. TensorRT-RTX adds a word at byte 32 with a bit for each
compute capability that the plan was compiled for (found by building for each alone), and has the plan's length in bytes 16..23
(seen in every plan of 1.7; of full TensorRT nothing is taken from there). Standard library only.
"""

from __future__ import annotations

import shlex
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from dlcv.runtime.errors import MissingPackageError, PlanError

KINDS = {b"ftrt": "tensorrt", b"vtrt": "tensorrt-rtx"}
"""A plan's magic and what built it; the names are also those of `--builder` and of the pip extras."""
LABELS = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}
INSTALL = {"tensorrt": "pip install 'dlcv-edge[tensorrt]'", "tensorrt-rtx": "pip install 'dlcv-edge[tensorrt-rtx]'"}
RTX_TARGETS = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
"""The compute capabilities of TensorRT-RTX 1.x; the position is the bit in the plan's mask."""
RTX_OWN_TARGETS = RTX_TARGETS[1:]
"""Those that TensorRT-RTX 1.7 builds for when none are named."""
RTX_GPUS = {
    "7.5": "Turing, RTX 20", "8.0": "A100", "8.6": "RTX 30", "8.7": "Jetson Orin", "8.9": "RTX 40, L4, L40",
    "9.0": "H100, H200", "10.0": "B200", "12.0": "RTX 50", "12.1": "DGX Spark",
}  # fmt: skip
"""Where each compute capability is met; those that are not in `RTX_TARGETS` are out of TensorRT-RTX 1.x's reach."""

AMPERE_PLUS = "8.0+"
"""Stands for a compute capability where a plan of full TensorRT was built for every GPU of Ampere and later."""
TF32 = "tf32"
"""Of a card's versions: stands in a plan whose builder was allowed to compute float32 in TF32."""
VERSION_COMPATIBLE_SINCE = {11: 10}
"""By major release of the runtime: the oldest major whose version-compatible plans it runs, where not all are (8.6 on)."""

_HEADER_BYTES = {"tensorrt": 28, "tensorrt-rtx": 36}
_LENGTH_AT, _VERSION_AT, _MASK_AT = 16, 24, 32


@dataclass(frozen=True)
class PlanHeader:
    """What a plan's first bytes say.

    Attributes:
        kind: `tensorrt` or `tensorrt-rtx`.
        version: of the library that built it, such as `11.4.0.106`.
        compute_capabilities: that it was compiled for, such as `("8.6", "8.9")`; empty where the header does not say.
        other_targets: whether the mask names targets that this dlcv knows no compute capability for.
        version_compatible: whether the lean runtime of newer releases runs it; the card says so.
    """

    kind: str
    version: str
    compute_capabilities: tuple[str, ...] = ()
    other_targets: bool = False
    version_compatible: bool = False

    @property
    def builder(self) -> str:
        """What built it, in words: `TensorRT-RTX 1.7.1.116`."""
        return f"{LABELS[self.kind]} {self.version}"


def with_card(header: PlanHeader, versions: Mapping[str, str]) -> PlanHeader:
    """A header with what it does not say itself and the card's `versions` do: the GPU of full TensorRT, compatibility."""
    capability = versions.get("compute_capability", "")
    known = header.compute_capabilities or ((capability,) if capability else ())
    return replace(header, compute_capabilities=known, version_compatible=versions.get("version_compatible") == "yes")


def read_plan_header(path: str | Path) -> PlanHeader:
    """Reads the header of a plan.

    Raises:
        PlanError: when the file cannot be read, is not a plan, or is cut short.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(max(_HEADER_BYTES.values()))
            there = file.seek(0, 2)
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
    (length,) = struct.unpack_from("<Q", head, _LENGTH_AT)
    if there < length:
        raise PlanError(f"{path} is cut short: {there:,} bytes of {length:,}; copy or export it again")
    (mask,) = struct.unpack_from("<I", head, _MASK_AT)
    targets = tuple(capability for bit, capability in enumerate(RTX_TARGETS) if mask >> bit & 1)
    return PlanHeader(kind, version, targets, other_targets=mask >> len(RTX_TARGETS) != 0)


@dataclass(frozen=True)
class Here:
    """What would run a plan here.

    Attributes:
        driver_problem: what is wrong with the driver, such as `no NVIDIA driver (libcuda.so.1)`; empty if it works.
        library: the module that would run the plan, `tensorrt`, `tensorrt_lean`, `tensorrt_rtx`; None if there is none.
        library_version: its version.
        gpu: name and compute capability of the GPU, such as `("NVIDIA H200", "9.0")`; None where unknown.
    """

    driver_problem: str
    library: str | None
    library_version: str | None
    gpu: tuple[str, str] | None


class MisfitError(PlanError):
    """A plan that was built for another release or GPU than those of this machine.

    Args:
        message: for people.
        summary: plan and machine in short: `built by ...; this is ...`.
        arguments: of `dlcv-export`, which builds it for this machine.
    """

    def __init__(self, message: str, summary: str, arguments: tuple[str, ...]) -> None:
        super().__init__(message)
        self.summary, self.arguments = summary, arguments


def preflight(header: PlanHeader, path: str | Path, here: Here, *, max_batch: int = 0) -> None:
    """Raises for the first thing that keeps a plan from running here: driver, library, its version, the GPU.

    Args:
        header: of the plan, with what its card says of it (`with_card`).
        path: of the plan, for the sentences.
        here: what would run it.
        max_batch: of the plan, for the command that builds it anew; 0 leaves it out.

    Raises:
        MisfitError: when the plan was built for another release or GPU; it holds the arguments of the command to build it anew.
        PlanError: when the machine runs no plan at all.
        MissingPackageError: when the library that runs it is not installed.
    """
    path = Path(path)
    if here.driver_problem:
        raise PlanError(
            f"this machine has {here.driver_problem}, and a TensorRT plan runs on an NVIDIA GPU only; {instead_of(path)}"
        )
    if here.library is None or here.library_version is None:
        raise MissingPackageError(
            header.kind.replace("-", "_"), f"run {path}, a plan of {header.builder}", INSTALL[header.kind]
        )
    _check_version(header, path, here, max_batch)
    if here.gpu is not None:
        _check_gpu(header, path, here, max_batch)


def instead_of(path: Path) -> str:
    """What to run where a plan cannot be: the graph that it was built from, by name where it is there."""
    graph = path.with_suffix(".onnx")
    if graph.is_file():
        return f"run the graph it was built from instead: --engine {graph}"
    return "run the graph it was built from instead, which is not beside it: copy it here, or make one with: dlcv-export --format onnx"


def _check_version(header: PlanHeader, path: Path, here: Here, max_batch: int) -> None:
    assert here.library_version is not None
    plan, found = _release(header.version), _release(here.library_version)
    lean = here.library == "tensorrt_lean"
    # The lean runtime is there for version-compatible plans, which newer releases also run.
    reached = header.version_compatible and plan < found and plan[0] >= VERSION_COMPATIBLE_SINCE.get(found[0], 8)
    if plan == found or (lean and reached):
        return
    label = "the lean runtime of TensorRT" if lean else LABELS[header.kind]
    raise _misfit(
        f"{path} was built by {header.builder}, and this machine has {label} {here.library_version}, which cannot run it",
        "rebuild it for this machine with", header, path, here, max_batch, header.kind,
    )  # fmt: skip


def _check_gpu(header: PlanHeader, path: Path, here: Here, max_batch: int) -> None:
    assert here.gpu is not None
    targets, (name, capability) = header.compute_capabilities, here.gpu
    if not targets and not header.other_targets:
        return
    if _covers(targets, capability) or (header.other_targets and capability not in RTX_GPUS):
        return
    problem = (
        f"{path} was built for GPUs of compute capability {', '.join(targets) or 'unknown to this dlcv'}, "
        f"and this machine's {name} has {capability}"
    )
    if header.kind == "tensorrt-rtx" and capability not in RTX_TARGETS:
        todo = "TensorRT-RTX does not build for it; build on this machine with full TensorRT"
        raise _misfit(problem, todo, header, path, here, max_batch, "tensorrt")
    raise _misfit(problem, "rebuild it for this GPU with", header, path, here, max_batch, header.kind)


def _covers(targets: tuple[str, ...], capability: str) -> bool:
    return capability in targets or (AMPERE_PLUS in targets and float(capability) >= float(AMPERE_PLUS.rstrip("+")))


def _misfit(
    problem: str, todo: str, header: PlanHeader, path: Path, here: Here, max_batch: int, builder: str
) -> MisfitError:  # fmt: skip
    graph = path.with_suffix(".onnx")
    arguments = [
        *(("--onnx", str(graph)) if graph.exists() else ("--model", path.stem, "--format", "plan")),
        "--builder",
        builder,
    ]
    if max_batch:
        arguments += ["--max-batch", str(max_batch)]
    if builder == "tensorrt-rtx" and here.gpu is not None and here.gpu[1] not in RTX_OWN_TARGETS:
        arguments += ["--compute-capability", here.gpu[1]]
    built = f"built by {header.builder}" + _on(header.compute_capabilities)
    summary = f"{built}; this is {here.library_version}" + (f" on {here.gpu[1]}" if here.gpu else "")
    return MisfitError(f"{problem}; {todo}: {shlex.join(['dlcv-export', *arguments])}", summary, tuple(arguments))


def _on(targets: tuple[str, ...]) -> str:
    return f" for compute capability {', '.join(targets)}" if targets else ""


def _release(version: str) -> tuple[int, ...]:
    """Major, minor, patch: engines do not carry between releases; builds of one release are the library's to judge."""
    parts = version.split(".")[:3]
    return tuple(int("".join(c for c in part if c.isdigit()) or 0) for part in parts)
