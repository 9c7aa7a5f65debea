"""`dlcv-doctor`: text, JSON, exit code."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from dlcv.runtime.cli.doctor import main
from dlcv.runtime.doctor import probes


def test_text_and_json() -> None:
    text, data = CliRunner().invoke(main, []), CliRunner().invoke(main, ["--json"])
    assert (text.exit_code, data.exit_code) == (0, 0)
    assert "Here dlcv can\n  run an .onnx on the CPU\n" in text.stdout
    assert "Not checked\n" in text.stdout
    values = json.loads(data.stdout)
    assert values["abilities"][0] == {
        "what": "run an .onnx on the CPU", "possible": True, "hindrance": "", "command": "",
    }  # fmt: skip


def test_what_is_broken_gives_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "TIMEOUT_S", 0.001)  # nothing loads as quickly
    result = CliRunner().invoke(main, ["--json"])
    assert result.exit_code == 1
    broken = [advice["problem"] for advice in json.loads(result.stdout)["broken"]]
    assert any(problem.startswith("numpy is installed and does not load (no answer") for problem in broken)


def test_it_imports_none_of_what_it_examines() -> None:
    code = (
        "import sys\nfrom dlcv.runtime.cli.doctor import main\nmain([], standalone_mode=False)\n"
        "assert not {'numpy', 'cv2', 'onnxruntime', 'torch', 'onnx', 'tensorrt_rtx', 'openvino'} & set(sys.modules)\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
