"""The double of TensorRT and pycuda, for tests of the session and of the double itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trt_double


@pytest.fixture(scope="session")
def double() -> Any:
    """The module `trt_double.py`."""
    return trt_double


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[trt_double.World]:
    """The double in place of TensorRT-RTX and pycuda, as on a machine with a GPU."""
    yield from trt_double.installed(monkeypatch)


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """A plan of the double's card, `tiny.plan`."""
    path = tmp_path / "tiny.plan"
    path.write_bytes(trt_double.plan_bytes(trt_double.CARD.to_json()))
    return path
