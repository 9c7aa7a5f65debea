"""What tests of the benchmarks share: results made up, and the double of TensorRT and pycuda."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def made() -> Any:
    """The module `bench_results.py`."""
    import bench_results

    return bench_results


@pytest.fixture(scope="session")
def double() -> Any:
    """The module `trt_double.py`."""
    import trt_double

    return trt_double


@pytest.fixture
def world(double: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The double in place of TensorRT-RTX and pycuda, as on a machine with a GPU."""
    yield from double.installed(monkeypatch)
