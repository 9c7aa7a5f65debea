"""Starting weights: what of a published VGG16 fits is taken, the rest is told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlcv.runtime.errors import CheckpointError
from dlcv.train.models import create_model
from dlcv.train.weights import initialise_from

WIDTH = 0.1


class RunsCode:
    """Unpickled, it makes a folder."""

    def __init__(self, marker: Path) -> None:
        self._marker = str(marker)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self._marker,)


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(1)
    return create_model("fcn8s", classes=7, width=WIDTH)


def published_vgg16() -> dict[str, Tensor]:
    """The names of torchvision's VGG16, the shapes of a narrow one, random values."""
    torch.manual_seed(2)
    shapes = create_model("fcn32s", classes=7, width=WIDTH).state_dict()
    weights = {name: torch.randn_like(t) for name, t in shapes.items() if name.startswith("features.")}
    for index, (after, before) in {0: (41, 392), 3: (41, 41), 6: (10, 41)}.items():
        weights |= {
            f"classifier.{index}.weight": torch.randn(after, before),
            f"classifier.{index}.bias": torch.randn(after),
        }
    return weights


def test_features_of_a_published_vgg16_are_taken(model: nn.Module, tmp_path: Path) -> None:
    published, before = published_vgg16(), {k: v.clone() for k, v in model.state_dict().items()}
    torch.save(published, tmp_path / "vgg16.pth")
    said = initialise_from(model, tmp_path / "vgg16.pth")
    own = model.state_dict()
    for name, tensor in own.items():
        assert torch.equal(tensor, published[name] if name.startswith("features.") else before[name]), name
    assert f"26 of the model's {len(own)} tensors taken" in said and "\n" not in said
    assert (
        "fresh: fc6.weight, fc6.bias" in said
        and "not taken from the file: classifier.0.weight, classifier.0.bias" in said
    )


def test_a_tensor_of_another_shape_is_left(model: nn.Module, tmp_path: Path) -> None:
    published = published_vgg16()
    published["features.0.weight"] = torch.randn(9, 3, 3, 3)
    before = model.state_dict()["features.0.weight"].clone()
    torch.save(published, tmp_path / "vgg16.pth")
    said = initialise_from(model, tmp_path / "vgg16.pth")
    assert torch.equal(model.state_dict()["features.0.weight"], before)
    assert "25 of" in said and "not taken from the file: features.0.weight" in said


def test_a_checkpoint_of_ours_is_taken_whole(tiny_checkpoint: Path, tiny_model: nn.Module) -> None:
    model = create_model("fcn8s", classes=7, width=0.05)
    said = initialise_from(model, tiny_checkpoint)
    expected = tiny_model.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
    assert said.endswith(f"{len(expected)} of the model's {len(expected)} tensors taken")


def test_nothing_that_fits_is_an_error(model: nn.Module, tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(3), "features.0.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(
        CheckpointError,
        match=r"no tensor of .*other\.pth fits the model by name and shape; expected names such as 'features\.0\.weight', got \['conv1\.weight'",
    ):
        initialise_from(model, tmp_path / "other.pth")


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, "text", torch.zeros(2), {"features.0.weight": [1.0]}])
def test_what_is_no_state_dict_is_refused(model: nn.Module, tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=r"odd\.pth does not hold a state dict \(names and tensors\)"):
        initialise_from(model, tmp_path / "odd.pth")


def test_a_pickle_that_would_run_code_is_refused(model: nn.Module, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    torch.save({"features.0.weight": RunsCode(marker)}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match="holds more than weights, nothing was run; expected a state dict"):
        initialise_from(model, tmp_path / "evil.pth")
    assert not marker.exists()


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\x03\x04 and no more"])
def test_a_damaged_file_is_refused(model: nn.Module, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "bad.pth").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"bad\.pth is damaged .*expected a state dict") as told:
        initialise_from(model, tmp_path / "bad.pth")
    assert "weights_only" not in str(told.value)  # torch's own advice to switch the protection off


def test_a_missing_file_is_told(model: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"there is no weights file .*none\.pth; expected a \.pth with a state dict"
    ):
        initialise_from(model, tmp_path / "none.pth")
