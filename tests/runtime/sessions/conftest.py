"""The double of TensorRT and pycuda, for tests of the session and of the double itself."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def double() -> Any:
    """The module `trt_double.py`."""
    spec = importlib.util.spec_from_file_location("trt_double", Path(__file__).with_name("trt_double.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
