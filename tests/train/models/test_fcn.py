"""FCNs on VGG16: the head's padding, the ways up, and the fully connected layers of a published VGG16."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dlcv.train.models import create_model, list_models
from dlcv.train.models.fcn import bilinear_weight, upsampling
from dlcv.train.models.registry import MODELS

FCNS = [name for name in list_models() if MODELS[name].home.startswith("dlcv.train.models.fcn:")]
TWO_BY_TWO = ["fcn8s", "fcn32s"]
SEEDED = {"features.0.weight": 2.9838, "fc6.weight": 22.0744, "score.weight": -2.2286}
"""Sums of fresh weights of width 0.05 after `torch.manual_seed(0)`, as the first release gave them in both systems; `score` is the
last layer that is drawn.
"""

VGG16_CONVOLUTIONS = {
    0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256), 14: (256, 256),
    17: (512, 256), 19: (512, 512), 21: (512, 512), 24: (512, 512), 26: (512, 512), 28: (512, 512),
}  # fmt: skip
"""Index in torchvision's `vgg16().features`: channels out and in, of 3 x 3 kernels."""


def stirred(name: str, width: float = 0.1) -> nn.Module:
    """In evaluation mode, with no weight at zero."""
    torch.manual_seed(0)
    model = create_model(name, width=width).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("name", FCNS)
def test_features_have_the_names_and_shapes_of_torchvision(name: str) -> None:
    with torch.device("meta"):
        state = create_model(name).state_dict()
    expected: dict[str, tuple[int, ...]] = {}
    for index, (after, before) in VGG16_CONVOLUTIONS.items():
        expected |= {f"features.{index}.weight": (after, before, 3, 3), f"features.{index}.bias": (after,)}
    assert {k: tuple(v.shape) for k, v in state.items() if k.startswith("features.")} == expected


@pytest.mark.parametrize("name", TWO_BY_TWO)
def test_fresh_weights_of_a_seed_stay_as_they_were(name: str) -> None:
    torch.manual_seed(0)
    state = create_model(name, classes=7, width=0.05).state_dict()
    found = {key: float(state[key].double().sum()) for key in SEEDED}
    assert found == pytest.approx(SEEDED, abs=1e-3)  # another processor may round the normal values otherwise


@pytest.mark.parametrize("name", TWO_BY_TWO)
def test_the_two_by_two_head_is_padded_right_and_below(name: str) -> None:
    """On 32 x 32 the head sees one place: only the upper left of its kernel meets it, the rest meets zeros."""
    model, image = stirred(name), torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        before = model(image)
        model.fc6.weight[..., 1, :] += 9
        model.fc6.weight[..., :, 1] += 9
        assert torch.equal(model(image), before)
        model.fc6.weight[..., 0, 0] *= -1
        assert not torch.equal(model(image), before)


def test_the_seven_by_seven_head_is_padded_on_every_side() -> None:
    model, image = stirred("fcn32s-fc7x7"), torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        before = model(image)
        centre = model.fc6.weight[..., 3, 3].clone()
        model.fc6.weight.add_(9)[..., 3, 3] = centre
        assert torch.equal(model(image), before)


def test_cropping_is_what_padding_does() -> None:
    """Without padding and cropped by 16 a side, the transposed convolution gives what padding 16 gives."""
    model, image = stirred("fcn32s-fc1x1"), torch.randn(2, 3, 96, 64)
    padded = upsampling(7, 32)
    padded.load_state_dict(model.up32.state_dict())
    with torch.inference_mode():
        scores = model.scores(model.features(image))
        assert model.up32(scores).shape == (2, 7, 128, 96)
        # the same products, summed in another order at most
        assert torch.allclose(model(image), padded(scores), atol=1e-6 * float(scores.abs().max()))


@pytest.mark.parametrize(("name", "whole_channels"), [("fcn32s-fc7x7", False), ("fcn32s-fc1x1", True)])
def test_dropout_behind_fc6_and_fc7_in_training_alone(name: str, whole_channels: bool) -> None:
    model, seen = stirred(name), []
    model.drop.register_forward_hook(lambda _layer, inputs, output: seen.append((inputs[0], output)))
    pool5 = torch.rand(1, model.fc6.in_channels, 6, 6)
    with torch.no_grad():
        model.fc6.bias.fill_(20)  # so that ReLU makes no zeros beside those of dropout
        model.fc7.bias.fill_(2000)
        model.scores(pool5)
        assert len(seen) == 2 and all(before is after or torch.equal(before, after) for before, after in seen)
        model.train().scores(pool5)
    for before, after in seen[2:]:
        assert bool((before > 0).all())
        share = (after[0] == 0).flatten(1).float().mean(1)  # of a channel's 36 places
        # half of 408 channels, or of 36 places in each: 0.15 is six standard deviations of the former
        assert abs(float(share.mean()) - 0.5) < 0.15
        assert bool(((share == 0) | (share == 1)).all()) == whole_channels


@pytest.mark.parametrize("name", TWO_BY_TWO)
def test_the_two_by_two_head_has_no_dropout(name: str) -> None:
    assert not [layer for layer in create_model(name, width=0.05).modules() if "Dropout" in type(layer).__name__]


def test_the_fully_connected_layers_of_a_vgg16_become_convolutions() -> None:
    """On an image of which pool5 is 7 x 7, the middle of the scores is what the fully connected layers give."""
    model = stirred("fcn32s-fc7x7", width=0.05)
    channels, hidden = model.fc6.in_channels, model.fc6.out_channels
    first, second = nn.Linear(channels * 49, hidden), nn.Linear(hidden, hidden)
    published = {f"classifier.0.{k}": v for k, v in first.state_dict().items()}
    published |= {f"classifier.3.{k}": v for k, v in second.state_dict().items()}
    published |= {"features.0.bias": torch.ones(8), "classifier.6.weight": torch.zeros(1000, hidden)}
    renamed = model.from_published(published)
    assert set(renamed) == {
        "fc6.weight", "fc6.bias", "fc7.weight", "fc7.bias", "features.0.bias", "classifier.6.weight"
    }  # fmt: skip
    assert renamed["features.0.bias"] is published["features.0.bias"]
    model.load_state_dict({k: v for k, v in renamed.items() if k.startswith("fc")}, strict=False)
    pool5 = torch.rand(1, channels, 7, 7)
    with torch.inference_mode():
        expected = torch.relu(second(torch.relu(first(pool5.flatten(1)))))
        scores = nn.functional.linear(expected, model.score.weight.flatten(1), model.score.bias)
        # sums of 392 float32 products, ordered otherwise
        assert torch.allclose(model.scores(pool5)[..., 3, 3], scores, atol=1e-5)


def test_what_no_seven_by_seven_kernel_fits_keeps_its_name() -> None:
    model = create_model("fcn32s-fc7x7", width=0.05)
    odd = {"classifier.0.weight": torch.zeros(4, 50), "fc6.weight": torch.zeros(4, 2, 7, 7)}
    assert {k: tuple(v.shape) for k, v in model.from_published(odd).items()} == {
        "classifier.0.weight": (4, 50), "fc6.weight": (4, 2, 7, 7)
    }  # fmt: skip


@pytest.mark.parametrize("factor", [2, 4, 8, 32])
def test_upsampling_keeps_a_constant_and_a_ramp(factor: int) -> None:
    layer, side = upsampling(2, factor), 6
    ramp = torch.arange(side, dtype=torch.float32).expand(1, 2, side, side).clone()
    with torch.no_grad():
        constant, line = layer(torch.full((1, 2, side, side), 3.0)), layer(ramp)
    assert constant.shape == line.shape == (1, 2, side * factor, side * factor)
    inside = slice(factor, -factor)  # the outermost pixels lack a neighbour to interpolate with
    # weights are multiples of 1 / (2 factor)^2, sums of four of them: exact to a few float32 roundings
    assert torch.allclose(constant[..., inside, inside], torch.tensor(3.0), atol=1e-5)
    # pixel centres: output x stands at (x + 0.5) / factor - 0.5 of the input
    expected: Tensor = (torch.arange(side * factor) + 0.5) / factor - 0.5
    assert torch.allclose(
        line[..., inside, inside], expected[inside].expand(1, 2, side * factor - 2 * factor, -1), atol=1e-4
    )


@pytest.mark.parametrize("kernel", [3, 4, 16])
def test_bilinear_weight_mixes_no_channels(kernel: int) -> None:
    weight = bilinear_weight(3, kernel)
    assert weight.shape == (3, 3, kernel, kernel) and weight.dtype == torch.float32
    for row in range(3):
        for column in range(3):
            assert bool(weight[row, column].any()) == (row == column)
    assert torch.equal(weight, weight.flip(2)) and torch.equal(weight, weight.transpose(2, 3))
