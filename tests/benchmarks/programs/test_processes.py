"""One process beside several: what is told of differences; that several train alike is tested in `tests/train/processes/test_torchrun.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from click.testing import CliRunner

from dlcv.benchmarks.programs import processes
from dlcv.train import run
from dlcv.train.data.sample import write_sample
from dlcv.train.settings.settings import TrainSettings


def test_a_difference_is_told_relative_to_one_process() -> None:
    one, two = (
        {"epoch": "3", "train_loss": "2.0", "validation_loss": "1.0"},
        {"train_loss": "1.9", "validation_loss": "1"},
    )
    assert processes._difference(one, two, 2) == (
        "epoch 3; train loss 2 with 1 and 1.9 with 2, 5.0e-02 apart; validation loss 1 with 1 and 1 with 2, 0.0e+00 apart"
    )


def test_the_confusion_matrix_of_a_runs_last_weights(tmp_path: Path) -> None:
    write_sample(tmp_path / "data", tiles=2, validation=3, size=64)
    settings = TrainSettings(
        data=str(tmp_path / "data"), width=0.05, epochs=1, batch=2, crop=64, workers=0, device="cpu", learning_rate=1e-3
    )
    trainer = run.start(settings, tmp_path / "run", overwrite=False, say=lambda _: None)
    trainer.train()
    arguments = ["--confusion-of", str(tmp_path / "run" / "last.pt"), str(tmp_path / "matrix.npy")]
    result = CliRunner().invoke(processes.main, arguments)
    assert result.exit_code == 0, result.output
    confusion = np.load(tmp_path / "matrix.npy")
    assert confusion.sum() == 3 * 64 * 64
    tally = trainer._validate(lambda: False)[1]
    assert np.array_equal(confusion, tally.confusion)
