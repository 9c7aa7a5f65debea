"""Settings, and what a resumed run may be given anew."""

from __future__ import annotations

import pytest

from dlcv.runtime.errors import UsageError
from dlcv.train.settings.settings import (
    MAY_CHANGE_ON_RESUME,
    TrainSettings,
    model_options,
    require_own_options,
    settings_on_resume,
)
from dlcv.train.steps.optimizers import default_learning_rate

STORED = TrainSettings(model="fcn32s", data="tiles", width=0.25, epochs=4, batch=8, learning_rate=0.002)


def test_stored_settings_come_back() -> None:
    assert settings_on_resume(STORED.to_dict(), {"model": "fcn32s"}) == STORED
    assert settings_on_resume(STORED.to_dict() | {"of_a_later_version": 1}, {}) == STORED


def test_what_may_change_is_taken() -> None:
    given = {"data": "elsewhere", "epochs": 9, "workers": 0, "device": "cpu", "keep_best": 3, "patience": 2}
    given |= {
        "snapshot_epochs": "last",
        "snapshot_tiles": ("a",),
        "score_training": 9,
        "tensorboard": True,
        "unreadable": "leave-out",
    }
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
        ("classes", ("a", "b"), r"--classes all, not a,b; leave --classes out"),
        ("options", {"auxiliary": True}, r"--model-option none, not auxiliary=true; leave --model-option out"),
        ("short_side", 64, r"--short-side 0, not 64"),
        ("least_area", 0.5, r"--least-area 0\.35, not 0\.5"),
        ("flips", "none", r"--flips both, not none"),
    ],
)
def test_what_would_make_it_another_run_is_refused(name: str, value: object, said: str) -> None:
    with pytest.raises(UsageError, match=f"the run was begun with {said}.*or start another run with --output DIR"):
        settings_on_resume(STORED.to_dict(), {name: value})


def test_the_same_value_typed_again_is_no_conflict() -> None:
    assert settings_on_resume(STORED.to_dict(), {"width": 0.25, "seed": 0}) == STORED


def test_narrower_models_learn_faster() -> None:
    assert default_learning_rate(1.0, batch_normalised=False) == 2.5e-4
    assert default_learning_rate(0.25, batch_normalised=False) == 1e-3


def test_batch_normalisation_bears_more_up_to_a_bound() -> None:
    rates = [default_learning_rate(width, batch_normalised=True) for width in (2.0, 1.0, 0.5, 0.25, 0.1)]
    assert rates == [5e-4, 1e-3, 2e-3, 4e-3, 4e-3]


def test_classes_and_options_come_back_as_they_were() -> None:
    stored = TrainSettings(model="resnet50", classes=("a", "b"), options={"stride_in_1x1": True}, keep_best=2)
    values = stored.to_dict() | {"classes": ["a", "b"]}  # a file may hold a list
    assert settings_on_resume(values, {"classes": ("a", "b"), "options": {"stride_in_1x1": True}}) == stored


def test_model_options_are_values() -> None:
    typed = ("stride_in_1x1=true", "auxiliary", "layers=3", "rate=0.5", "kind=plain", "text=a=b", "off=false", "empty=")
    assert model_options(typed) == {
        "stride_in_1x1": True, "auxiliary": True, "layers": 3, "rate": 0.5, "kind": "plain", "text": "a=b", "off": False,
        "empty": "",
    }  # fmt: skip
    assert model_options(()) == {}


@pytest.mark.parametrize("typed", [("=true",), ("",), ("a=1", "a=2"), ("a", "a")])
def test_an_option_without_a_name_or_twice_is_refused(typed: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=r"--model-option .*: expected NAME=VALUE, each name once, such as stride_in"):
        model_options(typed)


def test_options_of_the_other_task_are_told() -> None:
    require_own_options("fcn8s", "segmentation", {"dataset", "crop", "batch"})
    require_own_options("cnn3", "classification", {"classes", "short_side", "least_area"})
    with pytest.raises(
        UsageError, match=r"^--short-side, --least-area: for classification only, and fcn8s is a segmen"
    ):
        require_own_options("fcn8s", "segmentation", {"short_side", "least_area"})
