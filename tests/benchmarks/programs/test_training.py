"""The training loop beside a bare one: that both do the same work, not how fast."""

from __future__ import annotations

from pathlib import Path

import torch
from click.testing import CliRunner

from dlcv.benchmarks.programs import training
from dlcv.train import run
from dlcv.train.data.sample import write_sample
from dlcv.train.settings.settings import TrainSettings


def settings_of(folder: Path) -> TrainSettings:
    write_sample(folder, tiles=4, validation=1, size=64)
    return TrainSettings(data=str(folder), width=0.05, batch=2, crop=64, workers=0, device="cpu", learning_rate=1e-3)


def test_the_bare_loop_is_on_the_same_batches(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "data")
    trainer = run.start(settings, tmp_path / "run", overwrite=False, say=lambda _: None)
    epoch = training._bare_epoch(trainer)
    (batches,) = [cell.cell_contents for cell in epoch.__closure__ or () if isinstance(cell.cell_contents, list)]
    ours = [batch for step in trainer._make_loader() for batch in step]
    assert len(batches) == len(ours) == 2
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(batches, ours, strict=True))
    epoch()


def test_it_prints_a_line_and_leaves_nothing(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "data")
    arguments = ["--data", settings.data, "--width", "0.05", "--batch", "2", "--crop", "64", "--workers", "0"]
    result = CliRunner().invoke(training.main, [*arguments, "--pairs", "2", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("fcn8s at width 0.05, batch 2, 0 workers, 2 steps an epoch: bare / ours ")
    assert "2 pairs" in result.stdout and "CPU time " in result.stdout and result.stdout.count("\n") == 1
