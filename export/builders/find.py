"""Which TensorRT builds here."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from dlcv.export.builders.capabilities import Capabilities, Opsets, capabilities_of, opsets_of
from dlcv.runtime.card.plan_header import INSTALL, LABELS
from dlcv.runtime.errors import ExportError, MissingPackageError, UsageError
from dlcv.runtime.sessions.cuda import driver_problem
from dlcv.runtime.sessions.trt_library import TrtLibrary, find_library

BUILDERS = ("auto", "tensorrt", "tensorrt-rtx")


@dataclass(frozen=True)
class Builder:
    """A TensorRT library that can build here.

    Attributes:
        kind: `tensorrt` or `tensorrt-rtx`.
        library: the imported library.
        sentence: which one it is and why, for people.
    """

    kind: str
    library: TrtLibrary
    sentence: str

    @property
    def label(self) -> str:
        return f"{LABELS[self.kind]} {self.library.version}"

    @property
    def can(self) -> Capabilities:
        return capabilities_of(self.library)

    @property
    def opsets(self) -> Opsets:
        return opsets_of(self.library)


def find_builder(name: str = "auto") -> Builder:
    """The TensorRT library to build with.

    Args:
        name: `tensorrt`, `tensorrt-rtx`, or `auto`: full TensorRT where it imports and a GPU is there, else
            TensorRT-RTX.

    Raises:
        UsageError: for another name.
        MissingPackageError: when the library asked for, or any, is not installed.
        ExportError: when full TensorRT is asked for on a machine without a GPU, or is of a newer CUDA than the driver.
    """
    if name not in BUILDERS:
        raise UsageError(f"unknown builder {name!r}; known: {', '.join(BUILDERS)}")
    if name == "tensorrt-rtx":
        return _rtx("as asked")
    full, missing = find_library("tensorrt")
    problem = driver_problem()
    if full is not None and not problem:
        _check_cuda("tensorrt")
        return _chosen(
            "tensorrt", full, "as asked" if name == "tensorrt" else "since it is installed and a GPU is there"
        )
    if name == "auto":
        return _rtx(
            f"since full TensorRT {missing}"
            if full is None
            else f"since full TensorRT builds on a GPU and this machine has {problem}"
        )
    if full is None and missing == "is not installed":
        raise MissingPackageError("tensorrt", "build a plan with full TensorRT", INSTALL["tensorrt"])
    if full is None:
        raise ExportError(f"tensorrt {missing}; install it again with: {INSTALL['tensorrt']}")
    raise ExportError(
        f"full TensorRT builds on the GPU that will run the plan, and this machine has {problem}; "
        "build there, or here with: --builder tensorrt-rtx"
    )


def _rtx(why: str) -> Builder:
    library, missing = find_library("tensorrt_rtx")
    if library is not None:
        return _chosen("tensorrt-rtx", library, why)
    if missing != "is not installed":
        raise ExportError(f"tensorrt_rtx {missing}; install it again with: {INSTALL['tensorrt-rtx']}")
    raise MissingPackageError(
        "a TensorRT builder",
        "make a plan",
        f"{INSTALL['tensorrt-rtx']} (also on a machine without a GPU), or on the GPU machine that will run the plan: "
        f"{INSTALL['tensorrt']}",
    )


def _chosen(kind: str, library: TrtLibrary, why: str) -> Builder:
    return Builder(kind, library, f"building with {LABELS[kind]} {library.version}, {why}")


def _check_cuda(package: str) -> None:
    """Full TensorRT needs a driver of its own CUDA: with an older one it fails in the middle of a build with a number."""
    built_for, driver = cuda_of_package(package), cuda_of_driver()
    if built_for is not None and driver is not None and driver[0] < built_for:
        raise ExportError(
            f"{package}-cu{built_for} is built for CUDA {built_for}, and this machine's driver knows CUDA {driver[0]}.{driver[1]}; "
            f"update the driver, or install: pip install {package}-cu{driver[0]}"
        )


def cuda_of_package(package: str) -> int | None:
    """The CUDA major that an installed TensorRT is built for, from its package's name; None where that does not say."""
    for major in (13, 12, 11):
        try:
            version(f"{package}-cu{major}")
        except PackageNotFoundError:
            continue
        return major
    return None


def cuda_of_driver() -> tuple[int, int] | None:
    """The newest CUDA, major and minor, that this machine's driver knows; None without a driver."""
    found = ctypes.c_int()
    try:
        if ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(found)):
            return None
    except (OSError, AttributeError):
        return None
    return found.value // 1000, found.value % 1000 // 10
