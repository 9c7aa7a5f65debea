"""`--config` and `--dry-run` as users meet them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from dlcv.train.checkpoints.checkpoint import load_checkpoint
from dlcv.train.cli.train import main


def invoke(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], prog_name="dlcv-train")


@pytest.fixture
def config(pictures: Path, tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(
        f"model = 'cnn3'\ndata = '{pictures}'\nwidth = 0.05\nepochs = 2\nbatch = 10\nworkers = 0\ndevice = 'cpu'\n"
        f"optimizer = 'sgd'\nschedule = 'cosine'\nwarmup = 2\naccumulate = 2\nema = 0.9\nloss = 'focal'\n"
        f"balanced-sampling = true\nclasses = ['sea', 'snow', 'brick']\noutput = '{tmp_path / 'one'}'\n"
    )
    return path


def test_a_file_trains_and_its_settings_train_the_same_again(config: Path, tmp_path: Path) -> None:
    first = invoke("--config", config, "--seed", 3)
    assert first.exit_code == 0, first.output
    stored = tmp_path / "one" / "settings.toml"
    text = stored.read_text()
    assert 'optimizer = "sgd"\n' in text and "learning-rate = 0.01\n" in text and "seed = 3\n" in text
    assert "short-side = 32\n" in text and "crop = 32\n" in text and "dataset" not in text  # what was open is decided
    again = invoke("--config", stored, "--output", tmp_path / "two")
    assert again.exit_code == 0, again.output
    assert (tmp_path / "two" / "settings.toml").read_text() == text
    one, two = (load_checkpoint(tmp_path / name / "last.pt").weights for name in ("one", "two"))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_the_command_line_wins_and_a_file_serves_a_resumed_run(config: Path, tmp_path: Path) -> None:
    assert invoke("--config", config, "--epochs", 1, "--output", tmp_path / "run").exit_code == 0
    assert not (tmp_path / "one").exists()
    stored = tmp_path / "run" / "settings.toml"
    assert "epochs = 1\n" in stored.read_text()
    further = invoke("--config", stored, "--resume", "--output", tmp_path / "run", "--epochs", 2)
    assert further.exit_code == 0 and "epoch 2/2: loss " in further.stderr, further.output
    assert "epochs = 2\n" in stored.read_text()
    other = invoke("--config", config, "--resume", "--output", tmp_path / "run", "--ema", 0.5)
    assert other.exit_code == 2 and "begun with --ema 0.9, not 0.5" in other.stderr


def test_all_that_is_wrong_is_one_message(config: Path, tmp_path: Path) -> None:
    config.write_text(
        config.read_text().replace("'cosine'", "'cosin'") + "eposh = 3\ncrop = -1\nflips = 'up'\nshort-side = 9\n"
    )
    result = invoke("--config", config, "--loss", "mse", "--crop", 24, "--device", "gpu", "--dry-run")
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"dlcv-train: --config {config}: 7 problems: (1) ")
    for each in (
        "schedule = 'cosin'", "unknown name 'eposh'; did you mean epochs?", "crop = -1", "flips = 'up'", "unknown device 'gpu'",
        "unknown loss 'mse'", "(7) --short-side 9 is below the crop of 24",
    ):  # fmt: skip
        assert each in line


def test_a_model_of_the_file_that_is_unknown_is_told(config: Path) -> None:
    config.write_text(config.read_text().replace("cnn3", "cnn9"))
    result = invoke("--config", config)
    assert result.exit_code == 2 and "unknown model 'cnn9'" in result.stderr


def test_a_dry_run_says_what_would_be_and_writes_nothing(config: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    result = invoke("--config", config, "--dry-run")
    assert result.exit_code == 0, result.output
    assert sorted(tmp_path.rglob("*")) == before
    again = tmp_path / "dry.toml"
    again.write_text(result.stdout)
    assert invoke("--config", again, "--dry-run").stdout == result.stdout  # what it prints is such a file
    assert "30 images to train on, 6 to validate on, 3 classes; input 32 x 32" in result.stderr
    assert "would train cnn3 with " in result.stderr and "nothing is written" in result.stderr
    assert "at most 2 epochs of 1 steps of 20 images\n" in result.stderr
    assert "classes: sea, snow, brick\n" in result.stderr
    assert invoke("--config", config).exit_code == 0
    weights = load_checkpoint(tmp_path / "one" / "last.pt").weights
    parameters = sum(value.numel() for value in weights.values())  # cnn3 has no buffers
    assert f"with {parameters:,} parameters" in result.stderr


def test_a_dry_run_resumes_nothing(config: Path) -> None:
    result = invoke("--config", config, "--dry-run", "--resume")
    assert result.exit_code == 2 and "--dry-run begins none; pass one of them" in result.stderr


def test_bf16_and_the_share_of_waiting_are_told(config: Path, tmp_path: Path) -> None:
    result = invoke("--config", config, "--amp", "bf16", "--no-channels-last", "--epochs", 1)
    assert result.exit_code == 0 and "% of training waiting for data | " in result.stderr, result.output
    header, row = (tmp_path / "one" / "history.csv").read_text().splitlines()
    assert 0 < float(row.split(",")[header.split(",").index("data_wait")]) < 1
