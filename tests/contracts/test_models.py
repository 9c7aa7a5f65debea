"""One suite over every model in the registry: a new model joins by its registry line."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dlcv.runtime.errors import UsageError
from dlcv.train.data.scenes import make_scene
from dlcv.train.models import create_model, list_models
from dlcv.train.models.fcn import bilinear_weight, upsampling
from dlcv.train.models.registry import MODELS, model_entry
from dlcv.train.preprocess import IMAGENET_MEAN_RGB, IMAGENET_STD_RGB, normalise

CLASSES = 7
NARROW = 0.1
PARAMETERS = {"fcn8s": 39_936_885, "fcn32s": 40_118_087}
"""At width 1 with 7 classes, as the systems were published."""

VGG16_CONVOLUTIONS = {
    0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256), 14: (256, 256),
    17: (512, 256), 19: (512, 512), 21: (512, 512), 24: (512, 512), 26: (512, 512), 28: (512, 512),
}  # fmt: skip
"""Index in torchvision's `vgg16().features`: channels out and in, of 3 x 3 kernels."""

every_model = pytest.mark.parametrize("name", list_models())
every_vgg = pytest.mark.parametrize(
    "name", [n for n in list_models() if MODELS[n].home.startswith("dlcv.train.models.fcn:")]
)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def narrow(name: str) -> nn.Module:
    return create_model(name, classes=CLASSES, width=NARROW)


def stirred(name: str) -> nn.Module:
    """In evaluation mode and with no weight at zero, so that every path through the model shows in its output."""
    model = narrow(name).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


@cache
def full_size_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Shapes of the state dict at width 1, without the memory or the time of its values."""
    with torch.device("meta"):
        model = create_model(name, classes=CLASSES)
    assert not list(model.buffers())
    return {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}


@every_model
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 64, 64), (3, 64, 64), (1, 96, 160), (3, 96, 160)])
def test_logits_have_the_size_of_the_input(name: str, batch: int, height: int, width: int) -> None:
    logits = narrow(name).eval()(torch.randn(batch, 3, height, width))
    assert logits.shape == (batch, CLASSES, height, width)
    assert logits.dtype == torch.float32 and torch.isfinite(logits).all()


@every_model
@pytest.mark.parametrize("classes", [1, 2, 11])
def test_the_head_has_a_channel_a_class(name: str, classes: int) -> None:
    assert create_model(name, classes=classes, width=0.05)(torch.randn(1, 3, 32, 32)).shape[1] == classes


@every_model
def test_a_few_steps_lower_the_loss_on_eight_scenes(name: str) -> None:
    scenes = [make_scene(0, index, 64) for index in range(8)]
    images = normalise(torch.from_numpy(np.stack([s[0] for s in scenes])), IMAGENET_MEAN_RGB, IMAGENET_STD_RGB)
    labels = torch.from_numpy(np.stack([s[1] for s in scenes]).astype(np.int64))
    model = narrow(name).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # the eight scenes are learned by heart: a tenth less after 12 steps is far below what a working model reaches
    assert losses[-1] < 0.9 * losses[0]


@every_model
def test_every_parameter_gets_a_gradient(name: str) -> None:
    model = stirred(name)
    model(torch.randn(2, 3, 64, 64)).square().mean().backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@every_model
def test_evaluation_is_deterministic(name: str) -> None:
    model, image = stirred(name), torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        assert torch.equal(model(image), model(image))


@every_model
def test_a_batch_of_three_agrees_with_single_runs(name: str) -> None:
    model, images = stirred(name), torch.randn(3, 3, 64, 96)
    with torch.inference_mode():
        together, single = model(images), torch.cat([model(image[None]) for image in images])
    assert (single[0] - single[1]).abs().max() > 1e-3  # the images are told apart at all
    # float32 sums of some thousand terms may be ordered otherwise in another batch: 1e-5 of the largest value
    assert torch.allclose(together, single, rtol=0, atol=1e-5 * float(single.abs().max()))


@every_model
@pytest.mark.parametrize(
    ("height", "width", "padded"), [(100, 64, "128 x 64"), (64, 65, "64 x 96"), (33, 31, "64 x 32")]
)
def test_another_size_is_refused_with_the_size_to_use(name: str, height: int, width: int, padded: str) -> None:
    divisor = model_entry(name).size_divisor
    if divisor != 32:
        pytest.skip(f"the sizes here are for a divisor of 32, {name} has {divisor}")
    with pytest.raises(ValueError, match=f"image is {height} x {width}, expected multiples of 32; pad it to {padded}$"):
        narrow(name)(torch.randn(1, 3, height, width))


@every_model
def test_the_registry_says_the_divisor_of_the_model(name: str) -> None:
    assert narrow(name).size_divisor == model_entry(name).size_divisor
    assert model_entry(name).task in ("segmentation", "classification")


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_parameter_counts_at_full_width(name: str, count: int) -> None:
    assert sum(math.prod(shape) for shape in full_size_shapes(name).values()) == count


@every_vgg
def test_features_have_the_names_and_shapes_of_torchvision(name: str) -> None:
    features = {k: v for k, v in full_size_shapes(name).items() if k.startswith("features.")}
    expected: dict[str, tuple[int, ...]] = {}
    for index, (after, before) in VGG16_CONVOLUTIONS.items():
        expected |= {f"features.{index}.weight": (after, before, 3, 3), f"features.{index}.bias": (after,)}
    assert features == expected


@every_model
def test_every_convolution_has_the_size_of_the_formula(name: str) -> None:
    checked: list[str] = []

    def check(layer: nn.Conv2d | nn.MaxPool2d, inputs: tuple[Tensor], output: Tensor) -> None:
        for axis in (0, 1):
            size, (k, s, p, d) = (
                inputs[0].shape[2 + axis],
                (_axis(layer, what, axis) for what in ("kernel_size", "stride", "padding", "dilation")),
            )
            assert output.shape[2 + axis] == math.floor((size + 2 * p - d * (k - 1) - 1) / s) + 1
        checked.append(type(layer).__name__)

    model = narrow(name).eval()
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.MaxPool2d)]
    for layer in layers:
        layer.register_forward_hook(check)  # type: ignore[arg-type]
    model(torch.randn(1, 3, 64, 96))
    assert len(checked) == len(layers) >= 13


def _axis(layer: nn.Module, what: str, axis: int) -> int:
    value = getattr(layer, what)
    return int(value[axis]) if isinstance(value, tuple) else int(value)


@every_vgg
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
    expected = (torch.arange(side * factor) + 0.5) / factor - 0.5
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


def test_an_unknown_model_lists_the_known() -> None:
    with pytest.raises(UsageError, match=r"unknown model 'fcn9s'; known models: .*fcn32s, fcn8s"):
        create_model("fcn9s")


@every_model
@pytest.mark.parametrize("width", [0, -1.0, 4.5, float("nan"), float("inf")])
def test_a_width_out_of_range_is_refused(name: str, width: float) -> None:
    with pytest.raises(UsageError, match=f"width is {width}, expected above 0 and at most 4"):
        create_model(name, width=width)


@every_model
@pytest.mark.parametrize("classes", [0, -3, 257])
def test_classes_out_of_range_are_refused(name: str, classes: int) -> None:
    with pytest.raises(UsageError, match=f"classes is {classes}, expected 1 to 256"):
        create_model(name, classes=classes)


def test_the_list_is_sorted_and_whole() -> None:
    assert list_models() == sorted(MODELS) and {"fcn8s", "fcn32s"} <= set(list_models())
