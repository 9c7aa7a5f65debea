"""The sessions of a CPU beside each other, small: which they are, and that they say the same."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from click.testing import CliRunner

pytest.importorskip("torch", reason="the train extra is not installed")
pytest.importorskip("openvino", reason="the openvino extra is not installed")

from dlcv.benchmarks.programs import sessions


def test_sessions() -> None:
    result = CliRunner().invoke(
        sessions.main, ["--width", "0.05", "--size", "64", "--rounds", "3"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in result.stdout.splitlines()[2:]]
    rows = [row for row in rows if row]
    names = [row[0] for row in rows]
    left_out = [name for name, *_ in sessions.WAYS if f"{name} is left out: " in result.stderr]
    assert [name for name, *_ in sessions.WAYS if name in names] == [
        name for name, *_ in sessions.WAYS if name not in left_out
    ]
    assert (f"{sessions.PLUGIN}, fp32" in names) == (find_spec("onnxruntime_ep_openvino") is not None)
    agreement = {row[0]: float(row[3]) for row in rows}
    assert agreement[sessions.BASE] == 1
    assert agreement["OpenVINO, fp32"] > 0.999
    assert rows[0][1].startswith("1.00 "), "beside itself"
