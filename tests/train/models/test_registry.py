"""The registry: names, options, published files."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest

from dlcv.runtime.errors import UsageError
from dlcv.train.models import create_model, list_models
from dlcv.train.models.registry import MODELS

PUBLISHED_SHA = {
    "resnet18": "f37072fd", "resnet34": "b627a593", "resnet50": "0676ba61", "resnet101": "63fe2227", "resnet152": "394f9c45",
    "deeplabv3-resnet101": "63fe2227", "densenet201-mlp": "c1103571", "unet": "", "cnn3": "",
    "fcn8s": "397923af", "fcn32s": "397923af", "fcn32s-fc7x7": "397923af", "fcn32s-fc1x1": "397923af",
}  # fmt: skip
"""As torchvision 0.29.2 names its IMAGENET1K_V1 files."""


def test_the_list_is_sorted_and_whole() -> None:
    assert list_models() == sorted(MODELS) == sorted(PUBLISHED_SHA)


def test_the_list_of_a_task() -> None:
    assert list_models("segmentation") == [
        "deeplabv3-resnet101", "fcn32s", "fcn32s-fc1x1", "fcn32s-fc7x7", "fcn8s", "unet"
    ]  # fmt: skip
    assert sorted(list_models("segmentation") + list_models("classification")) == list_models()
    with pytest.raises(UsageError, match=r"^unknown task 'detection'; known tasks: segmentation, classification$"):
        list_models("detection")


def test_an_unknown_model_lists_the_known() -> None:
    with pytest.raises(UsageError, match=r"unknown model 'fcn9s'; known models: cnn3, .*fcn32s, .*fcn8s, "):
        create_model("fcn9s")


@pytest.mark.parametrize("name", list_models())
def test_published_files(name: str) -> None:
    found = re.fullmatch(
        r"https://download\.pytorch\.org/models/([a-z0-9]+)-([0-9a-f]{8})\.pth", MODELS[name].published
    )
    assert (found[2] if found else MODELS[name].published) == PUBLISHED_SHA[name]
    if found:
        assert found[1] in {"vgg16", "resnet101", "densenet201", name}


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("unet", {"auxiliary": True}, "unet has no option 'auxiliary'; known options: none"),
        ("resnet18", {"stride": 1}, "resnet18 has no option 'stride'; known options: stride_in_1x1"),
        ("resnet18", {"classes": 3}, "resnet18 has no option 'classes'; known options: stride_in_1x1"),
        ("resnet50", {"stride_in_1x1": "no"}, "option stride_in_1x1 of resnet50 is 'no', a str; expected a bool"),
        ("resnet50", {"stride_in_1x1": 1}, "option stride_in_1x1 of resnet50 is 1, a int; expected a bool"),
        ("deeplabv3-resnet101", {"auxiliary": None}, "option auxiliary of deeplabv3-resnet101 is None, a NoneType; expected a bool"),
        ("densenet201-mlp", {"dropout": True}, "option dropout of densenet201-mlp is True, a bool; expected a float"),
        ("densenet201-mlp", {"dropout": 1.5}, "dropout is 1.5, expected 0 to below 1: the share of values set to zero in training"),
        ("densenet201-mlp", {"dropout": float("nan")}, "dropout is nan, expected 0 to below 1: the share of values set to zero in training"),
    ],
)  # fmt: skip
def test_wrong_options_are_refused(name: str, options: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        create_model(name, width=0.05, options=options)
    assert str(caught.value) == text


def test_an_int_may_stand_for_a_float() -> None:
    model = create_model("densenet201-mlp", width=0.05, options={"dropout": 0})
    assert model.classifier[2].p == 0


def test_the_list_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; import dlcv.train.models.registry as r; print(len(r.list_models()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(len(MODELS))]
