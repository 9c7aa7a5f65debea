"""Which builder is taken, and every reason why there is none."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dlcv.export.builders import find
from dlcv.export.builders.find import find_builder
from dlcv.runtime.errors import ExportError, MissingPackageError, UsageError


def _library(name: str, version: str) -> ModuleType:
    library = ModuleType(name)
    library.__version__ = version  # type: ignore[attr-defined]
    library.NetworkDefinitionCreationFlag = SimpleNamespace(EXPLICIT_BATCH=0)  # type: ignore[attr-defined]
    return library


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets what imports and what is wrong with the driver."""

    def install(tensorrt: str | None, rtx: str | None, problem: str = "") -> None:
        for name, version in (("tensorrt", tensorrt), ("tensorrt_rtx", rtx)):
            monkeypatch.setitem(sys.modules, name, _library(name, version) if version else None)
        monkeypatch.setattr(find, "driver_problem", lambda: problem)

    return install


NO_DRIVER = "no NVIDIA driver (libcuda.so.1)"


def test_auto_takes_full_tensorrt_on_a_gpu_and_rtx_elsewhere(machine: Any) -> None:
    machine("11.4.0.106", "1.7.1.116")
    assert (
        find_builder("auto").sentence == "building with TensorRT 11.4.0.106, since it is installed and a GPU is there"
    )
    assert find_builder("tensorrt").sentence == "building with TensorRT 11.4.0.106, as asked"
    assert find_builder("tensorrt-rtx").sentence == "building with TensorRT-RTX 1.7.1.116, as asked"
    machine("11.4.0.106", "1.7.1.116", NO_DRIVER)
    assert find_builder("auto").sentence == (
        f"building with TensorRT-RTX 1.7.1.116, since full TensorRT builds on a GPU and this machine has {NO_DRIVER}"
    )
    machine(None, "1.7.1.116")
    assert find_builder("auto").sentence == "building with TensorRT-RTX 1.7.1.116, since full TensorRT is not installed"


def test_full_tensorrt_asked_for_without_a_gpu_or_uninstalled_is_told(machine: Any) -> None:
    machine("11.4.0.106", None, NO_DRIVER)
    with pytest.raises(
        ExportError,
        match=r"and this machine has no NVIDIA driver \(libcuda\.so\.1\); "
        r"build there, or here with: --builder tensorrt-rtx",
    ):
        find_builder("tensorrt")
    machine(None, None)
    with pytest.raises(MissingPackageError, match=r"install it with: pip install 'dlcv-edge\[tensorrt\]'$"):
        find_builder("tensorrt")


@pytest.mark.parametrize("name", ["auto", "tensorrt-rtx"])
def test_without_any_builder_the_packages_are_told(machine: Any, name: str) -> None:
    machine(None, None, NO_DRIVER)
    with pytest.raises(MissingPackageError) as caught:
        find_builder(name)
    assert str(caught.value) == (
        "a TensorRT builder is needed to make a plan; "
        "install it with: pip install 'dlcv-edge[tensorrt-rtx]' (also on a machine without a GPU), "
        "or on the GPU machine that will run the plan: pip install 'dlcv-edge[tensorrt]'"
    )


def test_a_builder_that_cannot_be_loaded_is_told_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> ModuleType:
        raise OSError("libcudart.so.12: cannot open\nshared object file")

    monkeypatch.setattr("dlcv.runtime.sessions.trt_library.import_module", broken)
    with pytest.raises(
        ExportError,
        match=r"tensorrt_rtx is installed and cannot be loaded \(libcudart\.so\.12: cannot open shared object file; "
        r"it is built for CUDA 12, which is not here: take the package that ends in -cu and this machine's CUDA\)",
    ):
        find_builder("tensorrt-rtx")


def test_an_unknown_builder_lists_the_known() -> None:
    with pytest.raises(UsageError, match="unknown builder 'trt'; known: auto, tensorrt, tensorrt-rtx"):
        find_builder("trt")


def test_a_builder_of_a_newer_cuda_than_the_driver_is_told(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine("11.4.0.106", None)
    monkeypatch.setattr(find, "cuda_of_package", lambda package: 13)
    monkeypatch.setattr(find, "cuda_of_driver", lambda: (12, 4))
    with pytest.raises(ExportError) as caught:
        find_builder("tensorrt")
    assert str(caught.value) == (
        "tensorrt-cu13 is built for CUDA 13, and this machine's driver knows CUDA 12.4; "
        "update the driver, or install: pip install tensorrt-cu12"
    )
    for package, driver in ((12, (12, 4)), (12, (13, 0)), (None, (12, 4)), (13, None)):
        monkeypatch.setattr(find, "cuda_of_package", lambda name, found=package: found)
        monkeypatch.setattr(find, "cuda_of_driver", lambda found=driver: found)
        assert find_builder("tensorrt").kind == "tensorrt"


def test_the_cuda_of_a_package_is_in_its_name() -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheels for this Python")
    assert find.cuda_of_package("tensorrt-rtx") == 13
    assert find.cuda_of_package("no-such-package") is None
