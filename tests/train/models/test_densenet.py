"""DenseNet201-MLP and cnn3: heads, smallest sizes, published names."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dlcv.train.models import create_model


def test_the_head_is_the_published_mlp() -> None:
    with torch.device("meta"):
        head = create_model("densenet201-mlp").classifier
    sizes = [(layer.in_features, layer.out_features) for layer in head if isinstance(layer, nn.Linear)]
    assert sizes == [(1920, 1024), (1024, 512), (512, 256), (256, 7)]
    assert [type(layer).__name__ for layer in head] == [*["Linear", "ReLU", "Dropout"] * 3, "Linear"]
    assert [layer.p for layer in head if isinstance(layer, nn.Dropout)] == [0.5] * 3


def test_the_layers_that_see_a_48_pixel_image() -> None:
    seen = []
    with torch.device("meta"):
        model = create_model("densenet201-mlp").eval()
        for name in ("conv0", "pool0", "denseblock1", "denseblock2", "denseblock3", "norm5"):
            model.features.get_submodule(name).register_forward_hook(lambda _l, _i, y: seen.append(tuple(y.shape[1:])))
        model(torch.empty(2, 3, 48, 48))
    assert seen == [(64, 24, 24), (64, 12, 12), (256, 12, 12), (512, 6, 6), (1792, 3, 3), (1920, 1, 1)]


@pytest.mark.parametrize(("name", "smallest"), [("densenet201-mlp", 29), ("cnn3", 8)])
def test_the_smallest_size(name: str, smallest: int) -> None:
    with torch.device("meta"):
        model = create_model(name).eval()
        assert model(torch.empty(1, 3, smallest, smallest)).shape == (1, 7)
        text = f"^image is {smallest} x {smallest - 1}, expected at least {smallest} x {smallest}; enlarge it$"
        with pytest.raises(ValueError, match=text):
            model(torch.empty(1, 3, smallest, smallest - 1))


def test_names_of_the_published_file() -> None:
    published = {
        "features.conv0.weight": 0,
        "features.denseblock1.denselayer1.norm.1.weight": 1,
        "features.denseblock4.denselayer32.conv.2.weight": 2,
        "features.denseblock3.denselayer48.norm.2.running_var": 3,
        "features.transition1.norm.bias": 4,
        "features.denseblock1.denselayer1.norm1.bias": 5,
        "classifier.weight": 6,
    }
    tensors = {name: torch.tensor(value) for name, value in published.items()}
    with torch.device("meta"):
        model = create_model("densenet201-mlp")
    renamed = model.from_published(tensors)
    assert {name: int(tensor) for name, tensor in renamed.items()} == {
        "features.conv0.weight": 0,
        "features.denseblock1.denselayer1.norm1.weight": 1,
        "features.denseblock4.denselayer32.conv2.weight": 2,
        "features.denseblock3.denselayer48.norm2.running_var": 3,
        "features.transition1.norm.bias": 4,
        "features.denseblock1.denselayer1.norm1.bias": 5,
        "classifier.weight": 6,
    }
    assert set(renamed) - set(model.state_dict()) == {"classifier.weight"}


def test_the_channels_of_cnn3() -> None:
    with torch.device("meta"):
        model = create_model("cnn3")
    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [64, 128, 512]
    assert (model.fc.in_features, model.fc.out_features) == (512, 7)
