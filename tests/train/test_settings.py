"""Settings, and what a resumed run may be given anew."""

from __future__ import annotations

import pytest

from dlcv.runtime.errors import UsageError
from dlcv.train.settings import MAY_CHANGE_ON_RESUME, TrainSettings, default_learning_rate, settings_on_resume

STORED = TrainSettings(model="fcn32s", data="tiles", width=0.25, epochs=4, learning_rate=0.002)


def test_stored_settings_come_back() -> None:
    assert settings_on_resume(STORED.to_dict(), {"model": "fcn32s"}) == STORED
    assert settings_on_resume(STORED.to_dict() | {"of_a_later_version": 1}, {}) == STORED


def test_what_may_change_is_taken() -> None:
    given = {"data": "elsewhere", "epochs": 9, "workers": 0, "device": "cpu"}
    assert set(given) == set(MAY_CHANGE_ON_RESUME)
    resumed = settings_on_resume(STORED.to_dict(), given)
    assert resumed.to_dict() == STORED.to_dict() | given


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("width", 0.5, r"--width 0\.25, not 0\.5; leave --width out"),
        ("learning_rate", 0.1, r"--learning-rate 0\.002, not 0\.1; leave --learning-rate out"),
        ("model", "fcn8s", r"--model fcn32s, not fcn8s"),
        ("seed", 1, r"--seed 0, not 1"),
        ("batch", 2, r"--batch 8, not 2"),
    ],
)
def test_what_would_make_it_another_run_is_refused(name: str, value: object, said: str) -> None:
    with pytest.raises(UsageError, match=f"the run was begun with {said}.*or start another run with --output DIR"):
        settings_on_resume(STORED.to_dict(), {name: value})


def test_the_same_value_typed_again_is_no_conflict() -> None:
    assert settings_on_resume(STORED.to_dict(), {"width": 0.25, "seed": 0}) == STORED


def test_narrower_models_learn_faster() -> None:
    assert default_learning_rate(1.0) == 2.5e-4 and default_learning_rate(0.25) == 1e-3
