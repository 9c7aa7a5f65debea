"""Learning-rate schedules, against their formulas by hand."""

from __future__ import annotations

import math

import pytest

from dlcv.train.steps.schedules import SCHEDULES, share_of_rate, warm_up_steps


def test_poly_cosine_and_constant_by_hand() -> None:
    for step in range(21):
        assert share_of_rate("poly", step, 20, 0) == pytest.approx((1 - step / 20) ** 0.9)
        assert share_of_rate("cosine", step, 20, 0) == pytest.approx((1 + math.cos(math.pi * step / 20)) / 2)
        assert share_of_rate("constant", step, 20, 0) == 1.0
    assert share_of_rate("cosine", 10, 20, 0) == pytest.approx(0.5)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_warm_up_is_linear_and_multiplies(schedule: str) -> None:
    for step in range(5):
        with_it, without = share_of_rate(schedule, step, 40, 4), share_of_rate(schedule, step, 40, 0)
        assert with_it == pytest.approx(min(1, (step + 1) / 4) * without)


@pytest.mark.parametrize("schedule", ["poly", "cosine"])
def test_past_the_end_it_stays_at_zero(schedule: str) -> None:
    assert share_of_rate(schedule, 20, 20, 0) == pytest.approx(0, abs=1e-15)  # cos(pi) + 1 in float64
    assert share_of_rate(schedule, 25, 20, 0) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize(
    ("typed", "steps"),
    [("auto", 100), ("0", 0), ("7", 7), ("1epoch", 30), ("2epochs", 60)],
)
def test_a_warm_up_in_steps_and_epochs(typed: str, steps: int) -> None:
    assert warm_up_steps(typed, total=3000, per_epoch=30) == steps


def test_a_short_run_warms_up_for_a_tenth() -> None:
    assert warm_up_steps("auto", total=40, per_epoch=4) == 5


@pytest.mark.parametrize("typed", ["", "-1", "1.5", "two", "3 epochs", "2e", "٣"])
def test_another_warm_up_is_refused(typed: str) -> None:
    with pytest.raises(ValueError, match="expected auto, a number of steps such as 500, or epochs such as 2epochs"):
        warm_up_steps(typed, total=10, per_epoch=2)


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown schedule 'step'; known: poly, cosine, constant"):
        share_of_rate("step", 0, 1, 0)
