"""`dlcv-train` as users meet it: options, sentences, exit codes, and a real Ctrl-C."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
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
from dlcv.train.checkpoints.checkpoint import load_checkpoint
from dlcv.train.cli.train import main
from dlcv.train.models import list_models

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


def test_as_a_module_it_is_the_same_command(command_env: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dlcv.train", "--model", "fcn9s"], check=False, capture_output=True, text=True, timeout=120,
        env=command_env,
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.startswith("dlcv-train: unknown model 'fcn9s'; known models: ")


def test_an_unknown_model_lists_the_known_without_loading_torch(run_command: Run) -> None:
    before = "import atexit, sys\natexit.register(lambda: print('torch' in sys.modules))"
    result = run_command("dlcv-train", "--model", "fcn9s", before=before)
    assert (result.returncode, result.stdout) == (2, "False\n")
    assert (
        result.stderr == "dlcv-train: unknown model 'fcn9s'; known models: " + result.stderr.split("known models: ")[1]
    )
    assert (
        f"known models: {', '.join(list_models())}; one of your own is known with --model-file FILE.py\n"
        in result.stderr
        and result.stderr.count("\n") == 1
    )
    assert "fcn8s" in result.stderr and "resnet18" in result.stderr


def test_a_run_from_the_command_line(scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("--model", "fcn32s", "--data", scenes, *TINY, "--epochs", 1, "--batch", 8, "--workers", 0)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""  # what is for people goes to stderr
    assert "9 images to train on, 3 to validate on, 7 classes; input 96 x 96" in result.stderr
    assert "epoch 1/1: loss " in result.stderr and "majority predictor" in result.stderr
    assert result.stderr.endswith("export it with: dlcv-export --model fcn32s\n")
    card = load_checkpoint(tmp_path / "runs" / "fcn32s" / "best.pt").card
    assert (card.model, card.width) == ("fcn32s", 0.05)
    assert_one_line(invoke("--model", "fcn32s", "--data", scenes), "holds a run already")
    assert_one_line(invoke("--model", "fcn32s", "--data", "nothere"), "there is no folder nothere; --data expects")
    done = invoke("--model", "fcn32s", "--resume")
    assert done.exit_code == 0 and "all 1 epochs were done already; train further with --epochs N" in done.stderr
    assert_one_line(
        invoke("--model", "fcn32s", "--resume", "--crop", 96), "begun with --crop 64, not 96; leave --crop out"
    )
    (tmp_path / "runs" / "fcn32s").rename(tmp_path / "my run")
    elsewhere = invoke("--model", "fcn32s", "--resume", "--output", "my run")  # the command that is told must find it
    assert elsewhere.stderr.endswith("; export it with: dlcv-export --model fcn32s --checkpoint 'my run/best.pt'\n")
    (tmp_path / "my run").rename(tmp_path / "runs" / "fcn32s")
    further = invoke("--model", "fcn32s", "--resume", "--epochs", 2)
    assert further.exit_code == 0 and "resumed" in further.stderr and "epoch 2/2: loss " in further.stderr


def test_a_classifier_from_the_command_line(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = (
        "--model",
        "resnet50",
        "--data",
        pictures,
        "--width",
        0.05,
        "--device",
        "cpu",
        "--workers",
        0,
        "--batch",
        8,
    )
    result = invoke(
        *options, "--classes", "snow, sea,brick", "--model-option", "stride_in_1x1=true", "--flips", "horizontal",
        "--least-area", 0.5, "--crop", 24, "--epochs", 2, "--keep-best", 2,
    )  # fmt: skip
    assert result.exit_code == 0 and result.stdout == "", result.output
    assert "30 images to train on, 6 to validate on, 3 classes; input 24 x 24" in result.stderr
    assert "12 of its 48 images are of other classes" in result.stderr
    assert "epoch 2/2: loss " in result.stderr and "best accuracy 0." in result.stderr
    members = " ".join(f"--checkpoint {Path('runs', 'resnet50', 'kept', f'epoch-000{k}.pt')}" for k in (1, 2))
    swapped = " ".join(members.split(" ")[2:] + members.split(" ")[:2])
    last = result.stderr.splitlines()[-1]
    assert last.startswith("lowest validation losses, for an ensemble: dlcv-export --model resnet50 --checkpoint ")
    assert last.endswith((members, swapped))
    checkpoint = load_checkpoint(tmp_path / "runs" / "resnet50" / "last.pt")
    assert (checkpoint.card.classes, checkpoint.card.input_size_hw) == (("snow", "sea", "brick"), (24, 24))
    assert checkpoint.card.short_side == 27 and checkpoint.card.options == {"stride_in_1x1": True}
    settings = checkpoint.training["settings"]
    assert (settings["flips"], settings["least_area"], settings["batch"]) == ("horizontal", 0.5, 8)

    further = invoke("--model", "resnet50", "--resume", "--epochs", 3, "--classes", "snow,sea,brick", "--crop", 24)
    assert further.exit_code == 0 and "epoch 3/3: loss " in further.stderr, further.output
    assert_one_line(
        invoke("--model", "resnet50", "--resume", "--classes", "snow,sea"),
        "begun with --classes snow,sea,brick, not snow,sea; leave --classes out",
    )
    assert_one_line(
        invoke("--model", "resnet50", "--resume", "--model-option", "stride_in_1x1=false"),
        "begun with --model-option stride_in_1x1=true, not stride_in_1x1=false; leave --model-option out",
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--data", "PICTURES", "--classes", "sea,lava"), "has no class"),
        (("--data", "PICTURES", "--crop", 24, "--short-side", 20), "--short-side 20 is below the crop of 24"),
        (("--data", "PICTURES", "--model", "resnet18", "--batch", 1), "pass --batch 2 or more"),
        (("--data", "PICTURES", "--model-option", "depth=3"), "cnn3 has no option 'depth'; known options: none"),
        (("--data", "PICTURES", "--model-option", "=3"), "expected NAME=VALUE, each name once"),
        (
            ("--data", "PICTURES", "--model", "resnet50", "--model-option", "stride_in_1x1=yes"),
            "option stride_in_1x1 of resnet50 is 'yes', a str; expected a bool",
        ),
        (
            ("--model", "fcn8s", "--classes", "a,b"),
            "--classes: for classification only, and fcn8s is a segmentation model",
        ),
        (
            ("--model", "fcn8s", "--short-side", 64),
            "--short-side: for classification only, and fcn8s is a segmentation model",
        ),
        (("--model", "cnn3", "--dataset", "x"), "--dataset: for segmentation only, and cnn3 is a classification model"),
    ],
)
def test_what_a_task_cannot_do_is_one_line(
    pictures: Path, tmp_path: Path, arguments: tuple[Any, ...], said: str
) -> None:
    model = () if "--model" in arguments else ("--model", "cnn3")
    given = [pictures if argument == "PICTURES" else argument for argument in arguments]
    assert_one_line(invoke(*model, *given, "--device", "cpu", "--output", tmp_path / "run"), said)
    assert not (tmp_path / "run").exists()


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
    watchdog = threading.Timer(600, process.kill)
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
    without_seconds = [[line.split(",")[:3] + line.split(",")[5:] for line in history] for history in histories]
    assert without_seconds[0] == without_seconds[1] and len(histories[0]) == 6
