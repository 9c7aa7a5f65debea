"""The roofline's count of operations reads of a user's graph the shapes alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlcv.benchmarks.bench.roofline import engine_multiply_adds

onnx = pytest.importorskip("onnx", reason="onnx makes the graph of this test")

from plan_graphs import CARD, write_graph  # noqa: E402


def test_weights_in_another_file_are_not_read(tmp_path: Path) -> None:
    """Whatever the graph names as such, here a file that is not there, is not opened."""
    model = onnx.load(write_graph(tmp_path / "tiny.onnx"))
    expected = engine_multiply_adds(CARD, tmp_path / "tiny.onnx")
    for tensor in model.graph.initializer:
        onnx.external_data_helper.set_external_data(tensor, "../secret/w.bin")
        tensor.ClearField("raw_data")
    (tmp_path / "tiny.onnx").write_bytes(model.SerializeToString())
    assert engine_multiply_adds(CARD, tmp_path / "tiny.onnx") == expected == 10368 + 4608
