"""`dlcv-inspect`: text, JSON, and how it ends."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from dlcv.runtime.cli.inspect import main


def test_two_files_as_text(tiny_onnx: Path, tiny_checkpoint: Path) -> None:
    result = CliRunner().invoke(main, [str(tiny_onnx), str(tiny_checkpoint)])
    assert (result.exit_code, result.stderr) == (0, "")
    first, second = result.stdout.split("\n\n")
    assert "kind        ONNX graph" in first and "opset       ai.onnx 18" in first
    assert "kind        checkpoint" in second


def test_a_damaged_file_does_not_hide_the_others(tiny_onnx: Path, tmp_path: Path) -> None:
    (tmp_path / "a.plan").write_bytes(b"ftrt")
    result = CliRunner().invoke(main, ["--json", str(tmp_path / "a.plan"), str(tiny_onnx)])
    assert result.exit_code == 2
    assert result.stderr.startswith("dlcv-inspect: ") and result.stderr.count("\n") == 1
    damaged, whole = json.loads(result.stdout)
    assert "cut short" in damaged["error"]
    assert whole["inputs"] == [{"name": "image", "dtype": "uint8", "shape": ["batch", 64, 64, 3]}]


def test_a_file_that_its_sidecar_does_not_know_ends_with_1(tiny_onnx: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_onnx, tmp_path / "a.onnx")
    (tmp_path / "a.json").write_text(json.dumps({"card": {}, "files": {"a.onnx": {"sha256": "0" * 64}}}))
    result = CliRunner().invoke(main, [str(tmp_path / "a.onnx")])
    assert result.exit_code == 1
    assert "DIFFERS" in result.stdout


def test_it_needs_a_file() -> None:
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 2
    assert "Missing argument 'FILES...'" in result.stderr


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_nothing_is_unpickled_and_no_library_of_an_engine_is_loaded(
    tiny_onnx: Path, tiny_checkpoint: Path, arguments: list[str]
) -> None:
    code = (
        "import sys, pickle\npickle.load = pickle.loads = pickle.Unpickler = None\nfrom dlcv.runtime.cli.inspect import main\n"
        f"main({[*arguments, str(tiny_onnx), str(tiny_checkpoint)]!r}, standalone_mode=False)\n"
        "assert not {'onnxruntime', 'torch', 'onnx', 'cv2', 'tensorrt_rtx'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
