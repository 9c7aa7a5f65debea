"""`dlcv-train` as users meet it: options, sentences, exit codes, and a real Ctrl-C."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from dlcv.runtime.version import __version__
from dlcv.train.checkpoint import load_checkpoint
from dlcv.train.cli.train import main

Run = Callable[..., "subprocess.CompletedProcess[str]"]
TINY = ("--width", 0.05, "--crop", 64, "--device", "cpu", "--learning-rate", 0.003)


def invoke(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], prog_name="dlcv-train")


def assert_one_line(result: Result, said: str) -> None:
    """Exit code 2, and a single line on stderr after the notes."""
    assert result.exit_code == 2, result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("dlcv-train: ")]
    assert len(errors) == 1 and said in errors[0] and "Traceback" not in result.output


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_load_nothing_heavy(run_command: Run, option: str) -> None:
    before = (
        "import atexit, sys\n"
        "atexit.register(lambda: print([m for m in ('torch', 'numpy', 'cv2', 'onnxruntime', 'onnx', 'PIL') if m in sys.modules]))"
    )
    result = run_command("dlcv-train", option, before=before)
    assert result.returncode == 0 and result.stderr == "" and result.stdout.endswith("[]\n")
    assert ("--resume" in result.stdout) if option == "--help" else (f"dlcv-train {__version__}\n" in result.stdout)


def test_an_unknown_model_lists_the_known_without_loading_torch(run_command: Run) -> None:
    before = "import atexit, sys\natexit.register(lambda: print('torch' in sys.modules))"
    result = run_command("dlcv-train", "--model", "fcn9s", before=before)
    assert (result.returncode, result.stdout) == (2, "False\n")
    assert (
        result.stderr == "dlcv-train: unknown model 'fcn9s'; known models: " + result.stderr.split("known models: ")[1]
    )
    assert "fcn32s, fcn8s" in result.stderr and result.stderr.count("\n") == 1


def test_a_run_from_the_command_line(scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("--model", "fcn32s", "--data", scenes, *TINY, "--epochs", 1, "--batch", 8, "--workers", 0)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""  # what is for people goes to stderr
    assert "9 tiles to train on, 3 to validate on; input 96 x 96" in result.stderr
    assert "epoch 1/1: loss " in result.stderr and "majority predictor" in result.stderr
    assert "export it with: dlcv-export --model fcn32s" in result.stderr
    card = load_checkpoint(tmp_path / "runs" / "fcn32s" / "best.pt").card
    assert (card.model, card.width) == ("fcn32s", 0.05)
    assert_one_line(invoke("--model", "fcn32s", "--data", scenes), "holds a run already")
    done = invoke("--model", "fcn32s", "--resume")
    assert done.exit_code == 0 and "all 1 epochs were done already; train further with --epochs N" in done.stderr
    assert_one_line(
        invoke("--model", "fcn32s", "--resume", "--crop", 96), "begun with --crop 64, not 96; leave --crop out"
    )
    further = invoke("--model", "fcn32s", "--resume", "--epochs", 2)
    assert further.exit_code == 0 and "resumed" in further.stderr and "epoch 2/2: loss " in further.stderr


def test_bad_data_is_one_line(scenes: Path, tmp_path: Path) -> None:
    arguments = ("--output", tmp_path / "run", *TINY, "--epochs", 1, "--batch", 9)
    assert_one_line(invoke("--data", tmp_path / "gone", *arguments), "there is no folder")
    (tmp_path / "empty").mkdir()
    assert_one_line(invoke("--data", tmp_path / "empty", *arguments), "no pairs in")
    assert_one_line(
        invoke("--data", scenes, "--output", tmp_path / "none", "--resume"), "there is no run to go on with"
    )
    assert_one_line(invoke("--data", scenes, *arguments, "--resume", "--overwrite"), "pass one of them")
    assert_one_line(invoke("--data", scenes, *arguments, "--loss", "mse"), "unknown loss 'mse'")
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")  # torch's workers, Python 3.12
@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (np.zeros((96, 64, 3), np.uint8), "is 96 x 64, its image"),
        (np.full((96, 96, 3), (0, 0, 255), np.uint8), "holds the colour (255, 0, 0) at row 0, column 0"),
    ],
)
def test_a_bad_mask_is_one_line_from_a_worker_too(scenes: Path, tmp_path: Path, pixels: Any, said: str) -> None:
    shutil.copytree(scenes, tmp_path / "data")
    cv2.imwrite(str(sorted((tmp_path / "data" / "train").glob("*_mask.png"))[0]), pixels)
    result = invoke(
        "--data", tmp_path / "data", "--output", tmp_path / "run", *TINY, "--epochs", 1, "--batch", 9, "--workers", 1
    )
    assert_one_line(result, said)
    assert "dlcv-train: the mask " in result.stderr


def test_ctrl_c_leaves_a_run_that_resumes_to_the_same_end(
    scenes: Path, tmp_path: Path, command_line: Callable[..., list[str]], command_env: dict[str, str]
) -> None:
    """SIGINT to the whole process group, as a terminal sends it: to the training process and to its worker."""
    options = ("--data", scenes, *TINY, "--epochs", 5, "--batch", 1)
    argv = command_line("dlcv-train", *options, "--output", tmp_path / "run")
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env=command_env, start_new_session=True)
    watchdog = threading.Timer(100, process.kill)
    watchdog.start()
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("epoch 1/5: loss "):
            time.sleep(0.1)  # into the next epoch, when its worker is there
            os.killpg(process.pid, signal.SIGINT)
    code = process.wait()
    watchdog.cancel()
    process.stderr.close()
    assert code == 130, "".join(lines)
    assert lines[-1].startswith("dlcv-train: interrupted; ") and "--resume" in lines[-1]
    assert "Traceback" not in "".join(lines)
    position = load_checkpoint(tmp_path / "run" / "last.pt", model="fcn8s").training
    assert 2 <= position["epoch"] <= 5

    resumed = invoke("--output", tmp_path / "run", "--resume", "--workers", 0)
    assert resumed.exit_code == 0, resumed.output
    assert invoke(*options, "--output", tmp_path / "whole", "--workers", 0).exit_code == 0
    for name in ("best.pt", "last.pt"):
        one, other = (load_checkpoint(tmp_path / folder / name).weights for folder in ("run", "whole"))
        assert all(torch.equal(one[key], other[key]) for key in one)
    histories = [(tmp_path / folder / "history.csv").read_text().splitlines() for folder in ("run", "whole")]
    without_seconds = [[line.split(",")[:3] + line.split(",")[4:] for line in history] for history in histories]
    assert without_seconds[0] == without_seconds[1] and len(histories[0]) == 6
