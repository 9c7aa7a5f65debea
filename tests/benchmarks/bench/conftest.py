"""A tiny classifier, for all tests of the bench."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def colour_engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An .onnx that classifies: uint8 (N, 32, 32, 3) -> probs float32 (N, 4)."""
    pytest.importorskip("onnx", reason="it is made with onnx")
    from colour_engine import write_colour_engine

    return write_colour_engine(tmp_path_factory.mktemp("colour-engine") / "classifier.onnx")
