"""What a build may be asked for, and what each builder refuses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dlcv.export.builders.capabilities import capabilities_of
from dlcv.export.builders.options import BuildOptions
from dlcv.runtime.errors import UsageError
from dlcv.runtime.sessions.trt_library import TrtLibrary


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (1, 8, 16)),
        ({"max_batch": 4}, (1, 4, 4)),
        ({"min_batch": 12}, (12, 12, 16)),
        ({"min_batch": 2, "opt_batch": 3, "max_batch": 4}, (2, 3, 4)),
    ],
)
def test_the_batch_that_is_tuned_for_lies_among_the_others(
    options: dict[str, int], expected: tuple[int, int, int]
) -> None:
    chosen = BuildOptions(**options)  # type: ignore[arg-type]
    chosen.check()
    assert chosen.batches == expected


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"max_batch": 0}, "got 1, 1 and 0$"),
        ({"min_batch": 5, "opt_batch": 2}, "got 5, 2 and 16$"),
        ({"max_batch": 2000}, "--max-batch <= 1024, got 1, 8 and 2000$"),
        ({"workspace_mib": 0}, "--workspace-mib 0 is too little"),
        ({"compute_capabilities": ("8.6", "9.0")}, r"7\.5, 8\.0, 8\.6, 8\.9, 12\.0, 12\.1, not for 9\.0$"),
    ],
)
def test_what_no_builder_can_do_is_told(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        BuildOptions(**options).check()


RTX, FULL_85, FULL_86 = ("tensorrt_rtx", "1.7.1.116"), ("tensorrt", "8.5.3.1"), ("tensorrt", "8.6.0")


@pytest.mark.parametrize(
    ("builder", "options", "sentence"),
    [
        (RTX, {"version_compatible": True}, "X has no version-compatible plans; leave out --version-compatible, or build with TensorRT 8.6 or newer"),
        (FULL_85, {"version_compatible": True}, "X has no version-compatible plans; leave out --version-compatible, or build with TensorRT 8.6 or newer"),
        (RTX, {"hardware_compatible": True}, "X has no hardware-compatible plans; leave out --hardware-compatible, or name its GPUs with --compute-capability"),
        (FULL_85, {"hardware_compatible": True}, "X has no hardware-compatible plans; leave out --hardware-compatible, or build with TensorRT 8.6 or newer"),
        (FULL_86, {"compute_capabilities": ("8.6",)}, "X builds for the GPU of this machine; --compute-capability goes with --builder tensorrt-rtx"),
    ],
)  # fmt: skip
def test_what_this_builder_cannot_do_is_told(builder: tuple[str, str], options: dict[str, Any], sentence: str) -> None:
    can = capabilities_of(TrtLibrary(builder[0], SimpleNamespace(), builder[1]))
    with pytest.raises(UsageError) as caught:
        BuildOptions(**options).check_for(can, "X")
    assert str(caught.value) == sentence


def test_what_it_can_do_passes() -> None:
    can = capabilities_of(TrtLibrary("tensorrt", SimpleNamespace(), "8.6.0"))
    BuildOptions(version_compatible=True, hardware_compatible=True).check_for(can, "X")
    can = capabilities_of(TrtLibrary("tensorrt_rtx", SimpleNamespace(), "1.7.1.116"))
    BuildOptions(compute_capabilities=("7.5",)).check_for(can, "X")
