"""The double of TensorRT and pycuda against the real bindings: signatures and attributes."""

from __future__ import annotations

import inspect
import re
from types import ModuleType
from typing import Any

import pytest

TENSORRT_CALLS = {
    "Runtime": ["__init__", "deserialize_cuda_engine"],
    "ICudaEngine": [
        "get_tensor_name", "get_tensor_mode", "get_tensor_dtype", "get_tensor_shape", "get_tensor_profile_shape",
        "create_execution_context", "create_runtime_config", "create_engine_inspector",
    ],
    "EngineInspector": ["get_engine_information"],
    "IExecutionContext": ["set_input_shape", "set_tensor_address", "execute_async_v3", "get_tensor_shape"],
    "IRuntimeConfig": ["create_runtime_cache", "set_runtime_cache"],
    "IRuntimeCache": ["serialize", "deserialize"],
    "ILogger": ["log"],
}  # fmt: skip
PYCUDA_CALLS = {
    "": ["init", "mem_alloc", "pagelocked_empty", "memcpy_htod_async", "memcpy_dtoh_async"],
    "Device": ["__init__", "retain_primary_context"],
    "Context": ["push", "pop"],
    "Stream": ["__init__", "synchronize"],
    "Event": ["__init__", "record", "synchronize", "time_since"],
    "DeviceAllocation": ["free", "__int__"],
    "HostAllocation": ["free"],
}


def _pairs(calls: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(owner, name) for owner, names in calls.items() for name in names]


def _overloads(doc: str, name: str) -> list[list[tuple[str, bool]]]:
    """(parameter, has a default) of each overload in a docstring of pybind11 or Boost.Python, `self` left out."""
    found = []
    for arguments in re.findall(rf"^(?:\d+\. )?{name}\((.*)\) ->", doc, re.MULTILINE):
        if "*args" not in arguments:
            parts = [
                part.strip(" []")
                for part in re.split(r",(?![^\[(<]*[\])>](?!,))", re.sub(r"\[\s*,", ",", arguments))
                if part.strip(" []")
            ]
            names = [(re.split(r"[:=]", re.sub(r"^\(\w+\)", "", part))[0].strip(), "=" in part) for part in parts]
            found.append(names)
    return found


def _assert_fits(fake: Any, doc: str, name: str, bound: bool) -> None:
    parameters = [p.name for p in inspect.signature(fake).parameters.values() if p.name != "self"]
    for overload in _overloads(doc, name):
        real = overload[1:] if bound else overload
        positional = all(re.fullmatch(r"arg\d+", p) for p, _ in real)  # Boost.Python without names
        names = parameters if positional and len(real) == len(parameters) else [p for p, _ in real]
        required = [p for (_, default), p in zip(real, names, strict=True) if not default]
        if [p for p in names if p in parameters] == parameters and set(required) <= set(parameters):
            return
    raise AssertionError(f"the double's {name}({', '.join(parameters)}) is none of {_overloads(doc, name)}")


@pytest.mark.parametrize(("owner", "name"), _pairs(TENSORRT_CALLS))
def test_the_double_has_the_signatures_of_tensorrt(double: Any, owner: str, name: str) -> None:
    real = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheels for this Python")
    fake = double.make_tensorrt(double.World())
    _assert_fits(getattr(getattr(fake, owner), name), getattr(getattr(real, owner), name).__doc__, name, bound=True)


def test_the_double_has_the_attributes_of_tensorrt(double: Any) -> None:
    real = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheels for this Python")
    fake = double.make_tensorrt(double.World())
    assert set(fake.DataType.__members__) <= set(real.DataType.__members__)
    assert set(fake.LayerInformationFormat.__members__) == set(real.LayerInformationFormat.__members__)
    assert set(fake.TensorIOMode.__members__) == set(real.TensorIOMode.__members__)
    assert set(fake.ILogger.Severity.__members__) == set(real.ILogger.Severity.__members__)
    assert set(fake.CudaGraphStrategy.__members__) == set(real.CudaGraphStrategy.__members__)
    assert inspect.getattr_static(real.IRuntimeConfig, "cuda_graph_strategy").fset is not None
    assert real.ILogger.ERROR == real.ILogger.Severity.ERROR
    assert isinstance(inspect.getattr_static(real.ICudaEngine, "num_io_tensors"), property)


@pytest.mark.parametrize(("owner", "name"), _pairs(PYCUDA_CALLS))
def test_the_double_has_the_signatures_of_pycuda(double: Any, owner: str, name: str) -> None:
    real = pytest.importorskip("pycuda.driver", reason="pycuda needs libcuda.so.1 to be imported", exc_type=ImportError)
    fake: ModuleType = double.make_pycuda(double.World())[1]
    of_real, of_fake = (getattr(real, owner), getattr(fake, owner)) if owner else (real, fake)
    static = name == "pop"
    _assert_fits(getattr(of_fake, name), getattr(of_real, name).__doc__, name, bound=owner != "" and not static)
    assert issubclass(real.MemoryError, real.Error)
    assert isinstance(real.Stream.handle, property)


def test_a_double_that_drifts_is_caught() -> None:
    doc = "set_tensor_address(self: a.b.IExecutionContext, name: str, memory: typing.SupportsInt) -> bool"
    _assert_fits(lambda self, name, memory: None, doc, "set_tensor_address", bound=True)
    for drifted in (lambda self, name, address: None, lambda self, name: None, lambda self, memory, name: None):
        with pytest.raises(AssertionError, match="is none of"):
            _assert_fits(drifted, doc, "set_tensor_address", bound=True)
