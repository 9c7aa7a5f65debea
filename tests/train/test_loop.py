"""The loop: its learning rate, its steps, and that it learns. Interrupted and resumed: test_resumed_runs.py."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from training_runs import EPOCHS, STEPS, begin, history, small_settings

from dlcv.train.settings.settings import TrainSettings


@pytest.fixture(scope="module")
def settings(scenes: Path) -> TrainSettings:
    return small_settings(scenes)


def test_the_learning_rate_warms_up_and_falls_to_zero(settings: TrainSettings, tmp_path: Path) -> None:
    trainer = begin(settings, tmp_path / "run", epochs=10, learning_rate=1.0)
    rates = []
    for step in range(41):
        trainer.epoch, trainer.step_in_epoch = step // STEPS + 1, step % STEPS
        rates.append(trainer.learning_rate())
    # 40 steps: 5 of warm-up, and the poly schedule (1 - step / 40)^0.9
    expected = [min(1, (step + 1) / 5) * (1 - step / 40) ** 0.9 for step in range(41)]
    assert rates == pytest.approx(expected) and rates[40] == 0.0
    assert max(rates) == rates[4] and all(a > b for a, b in pairwise(rates[4:]))


def test_the_optimizer_steps_at_that_rate(
    settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[float, float]] = []
    original = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, *args: Any) -> Any:
        seen.append((self.param_groups[0]["lr"], trainer.learning_rate()))
        return original(self, *args)

    trainer = begin(settings, tmp_path / "run", learning_rate=0.0)
    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    trainer.train()
    assert len(seen) == EPOCHS * STEPS and all(a == b for a, b in seen)
    assert seen[1][0] == pytest.approx(
        2.5e-4 / 0.05 * (11 / 12) ** 0.9
    )  # no rate given: 0.00025 / width, 2 steps of warm-up


def test_training_learns_its_scenes(settings: TrainSettings, tmp_path: Path) -> None:
    trainer = begin(settings, tmp_path / "run", width=0.1, epochs=12, learning_rate=2e-3)
    trainer.train()
    losses = [float(row["train_loss"]) for row in history(tmp_path / "run")]
    assert min(losses[-3:]) < 0.85 * losses[0]  # 48 steps on 9 scenes; a step that does nothing stays at 1.0
