"""What is wrong with settings is told all at once."""

from __future__ import annotations

from typing import Any

import pytest

from dlcv.runtime.errors import UsageError
from dlcv.train.checks import check, problems, refuse
from dlcv.train.settings.settings import TrainSettings


def test_the_defaults_are_right() -> None:
    assert problems(TrainSettings()) == [] and problems(TrainSettings(model="resnet18")) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"optimizer": "adam"}, "unknown optimizer 'adam'; known: adamw, sgd"),
        ({"schedule": "step"}, "unknown schedule 'step'; known: poly, cosine, constant"),
        ({"amp": "int8"}, "unknown amp 'int8'; known: off, bf16, fp16"),
        (
            {"warmup": "soon"},
            "--warmup 'soon': expected auto, a number of steps such as 500, or epochs such as 2epochs",
        ),
        ({"accumulate": 0}, "--accumulate is 0, expected at least 1"),
        ({"ema": 1.0}, "--ema is 1.0, expected from 0 to below 1"),
        ({"clip_norm": -1.0}, "--clip-norm is -1.0, expected 0 or more"),
        ({"model": "cnn3", "loss": "dice"}, "--loss dice is for segmentation, and cnn3 classifies; use focal or"),
    ],
)
def test_one_problem_is_one_sentence(changes: dict[str, Any], said: str) -> None:
    (problem,) = problems(TrainSettings(**changes))
    assert problem.startswith(said)
    with pytest.raises(UsageError) as told:
        check(TrainSettings(**changes))
    assert str(told.value) == problem


def test_several_are_numbered() -> None:
    with pytest.raises(UsageError) as told:
        check(TrainSettings(loss="mse", amp="int4", crop=100, device="gpu", momentum=2.0))
    text = str(told.value)
    assert text.startswith("5 problems: (1) unknown device 'gpu'") and "\n" not in text
    for each in ("unknown loss 'mse'", "unknown amp 'int4'", "--momentum is 2.0", "(5) --crop 100 is not a multiple"):
        assert each in text


def test_nothing_is_no_problem() -> None:
    refuse([])
    refuse([], "a.toml")
