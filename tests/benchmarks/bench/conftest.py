"""The module `results.py`, for all tests of the bench."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def made() -> Any:
    """The module `results.py`."""
    return _module(Path(__file__).with_name("results.py"))


@pytest.fixture(scope="session")
def double() -> Any:
    """The double of TensorRT and pycuda."""
    return _module(Path(__file__).parents[2] / "runtime" / "sessions" / "trt_double.py")


@pytest.fixture(scope="session")
def colour_engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An .onnx that classifies: uint8 (N, 32, 32, 3) -> probs float32 (N, 4)."""
    pytest.importorskip("onnx", reason="it is made with onnx")
    colours = _module(Path(__file__).parents[2] / "runtime" / "colour_engine.py")
    path: Path = colours.write_colour_engine(tmp_path_factory.mktemp("colour-engine") / "classifier.onnx")
    return path


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
