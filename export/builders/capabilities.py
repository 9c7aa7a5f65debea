"""What each TensorRT can do and which opsets it reads: the one place for the differences between 8.6, 10, 11 and TensorRT-RTX.

Where a fact comes from stands beside it. `tests/export/builders/test_capabilities.py` holds the table to the real bindings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

from dlcv.runtime.sessions.trt_library import TrtLibrary

Release = tuple[int, int]
R = TypeVar("R")


@dataclass(frozen=True)
class Capabilities:
    """What a release of TensorRT can do.

    Attributes:
        typed_by_graph: the graph's types decide the precision; else builder flags and each layer's own do, and there is no bfloat16.
        typed_flag: the flag of `create_network` that goes with it; None where there is none to set.
        progress: it tells the phase of a build and can be stopped (IProgressMonitor).
        timing_cache: measured tactics can be kept and used again.
        version_compatible: it can build plans that newer releases run.
        hardware_compatible: it can build plans that run on every GPU of Ampere and later.
        chosen_gpus: the GPUs of a plan are chosen by compute capability; else a plan is for the GPU that builds it.
        outer_tactics: it takes tactics from cuBLAS and cuDNN unless told otherwise, and the plan then needs them to run.
        asks_to_share: a plan must be built for it that two execution contexts use one profile, as our session does.
    """

    typed_by_graph: bool
    typed_flag: str | None
    progress: bool
    timing_cache: bool
    version_compatible: bool
    hardware_compatible: bool
    chosen_gpus: bool
    outer_tactics: bool
    asks_to_share: bool = False


_8 = Capabilities(
    typed_by_graph=False, typed_flag="EXPLICIT_BATCH", progress=False, timing_cache=True, version_compatible=True,
    hardware_compatible=True, chosen_gpus=False, outer_tactics=True,
)  # fmt: skip
# 10: STRONGLY_TYPED and Python's IProgressMonitor; cuDNN and cuBLAS tactics are off by default (migration guide)
_10 = replace(_8, typed_by_graph=True, typed_flag="STRONGLY_TYPED", progress=True, outer_tactics=False)

TABLE: tuple[tuple[str, Release, Capabilities], ...] = (
    # 8.5: neither VERSION_COMPATIBLE nor HardwareCompatibilityLevel (both: release notes of 8.6)
    ("tensorrt", (8, 5), replace(_8, version_compatible=False, hardware_compatible=False)),
    # 8.6: PreviewFeature.PROFILE_SHARING_0806, off by default; from 9.0 on always so (bindings of 8.6.0)
    ("tensorrt", (8, 6), replace(_8, asks_to_share=True)),
    ("tensorrt", (10, 0), _10),
    # 11: every network is strongly typed, the flag is accepted and ignored (migration guide 10 to 11)
    ("tensorrt", (11, 0), _10),
    # RTX: timing caches do nothing, the hardware level is ignored with a warning, VERSION_COMPATIBLE fails for want of a
    # lean runtime: seen with 1.7
    (
        "tensorrt_rtx",
        (1, 0),
        replace(_10, timing_cache=False, chosen_gpus=True, version_compatible=False, hardware_compatible=False),
    ),
)
"""Library, the first release that the row is true of, and the row."""


@dataclass(frozen=True)
class Opsets:
    """Which opsets of ONNX a release reads.

    Attributes:
        surely: the newest that it is documented or seen to read.
        newest: above this it surely does not; None where nobody has said.
        source: of both numbers.
    """

    surely: int
    newest: int | None
    source: str


_OPERATORS = "docs/operators.md of onnx-tensorrt"

OPSETS: tuple[tuple[str, Release, Opsets], ...] = (
    ("tensorrt", (8, 5), Opsets(17, 17, f"{_OPERATORS}, branches 8.5-GA and 8.6-GA")),
    ("tensorrt", (9, 0), Opsets(19, 19, f"{_OPERATORS}, branches 9.0 to 9.3")),
    ("tensorrt", (10, 0), Opsets(20, 20, f"{_OPERATORS}, branches 10.0-GA and 10.1-GA; still so for 10.8: NVIDIA/TensorRT issue 4336")),
    ("tensorrt", (10, 9), Opsets(20, 24, "between 10.8 and 10.15, whose pages say 20 and 24")),
    ("tensorrt", (10, 15), Opsets(24, 24, f"{_OPERATORS} for 10.15")),
    ("tensorrt", (11, 0), Opsets(24, 25, "the ONNX opset guide of 11 says 25, the release notes of 11.5 that 11.5 brought it")),
    ("tensorrt", (11, 5), Opsets(25, 25, "release notes of 11.5")),
    ("tensorrt", (11, 6), Opsets(25, None, "newer than what was read for this table")),
    # No page of TensorRT-RTX names a number. Its parser does not look: opset 27 was read and built without a word.
    ("tensorrt_rtx", (1, 0), Opsets(22, 25, "graphs of opset 18 and 22 were built with 1.7; no TensorRT is documented for more than 25")),
    ("tensorrt_rtx", (1, 8), Opsets(22, None, "newer than what was read for this table")),
)  # fmt: skip
"""Library, the first release that the row is true of, and the row."""

OLDEST_OPSET = 9
"""The oldest that TensorRT 10 and 11 document."""


def release_of(version: str) -> Release:
    """Major and minor of a version such as `10.9.0.34`."""
    major, minor = (int("".join(c for c in part if c.isdigit()) or 0) for part in (version + ".0").split(".")[:2])
    return major, minor


def capabilities_of(library: TrtLibrary) -> Capabilities:
    """The row of a library; one older than the table gets the oldest row."""
    rows = [(since, row) for name, since, row in TABLE if name == library.name]
    return _row(rows, release_of(library.version))


def opsets_of(library: TrtLibrary) -> Opsets:
    """Likewise, of the opsets."""
    rows = [(since, row) for name, since, row in OPSETS if name == library.name]
    return _row(rows, release_of(library.version))


def _row(rows: list[tuple[Release, R]], release: Release) -> R:
    fitting = [row for since, row in rows if since <= release]
    return fitting[-1] if fitting else rows[0][1]
