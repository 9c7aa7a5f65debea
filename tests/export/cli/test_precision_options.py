"""Options of another precision are refused, before anything is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

NEVER = "there is no checkpoint "


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        (("--calibration", "entropy"), "--calibration is for --precision int8 or auto; fp32 needs none, leave it out"),
        (("--precision", "fp16", "--calibration-tiles", "3"), "--calibration-tiles is for --precision int8 or auto; fp16 needs none"),
        (("--precision", "bf16", "--calibration-data", "x"), "--calibration-data is for --precision int8 or auto; bf16 needs none"),
        (("--no-repair",), "--no-repair is for --precision fp16 or bf16 or int8 or auto; fp32 needs none"),
        (("--format", "onnx", "--max-drop", "0.1"), "--max-drop holds a low precision or a plan; a graph in fp32 is held to torch itself"),
        (("--format", "onnx", "--min-share", "0.5"), "--min-share holds a low precision or a plan"),
        (("--precision", "int8", "--calibration", "entropy", "--calibration-tiles", "3", "--no-repair", "--max-drop", "0.1"), NEVER),
        (("--precision", "auto", "--format", "onnx", "--calibration", "percentile", "--min-share", "0.5"), NEVER),
        (("--precision", "fp16", "--format", "onnx", "--max-drop", "0.1", "--repair"), NEVER),
        (("--max-drop", "0.1", "--min-share", "0.5"), NEVER),
    ],
)  # fmt: skip
def test_options_without_effect(typed: tuple[str, ...], why: str, export: Callable[..., Any], tmp_path: Path) -> None:
    result = export("--checkpoint", tmp_path / "no.pt", *typed)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1 and why in result.stderr
