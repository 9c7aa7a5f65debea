"""One suite over every model in the registry: a new model joins by its registry line. What is one model's own is tested in
tests/train/models.
"""

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
from dlcv.train.models.imagenet import IMAGENET_MEAN_RGB, IMAGENET_STD_RGB
from dlcv.train.models.registry import MODELS, model_entry
from dlcv.train.preprocess import normalise

CLASSES = 7
NARROW = 0.1
PARAMETERS: list[tuple[str, int, bool, int]] = [
    ("fcn32s", 7, False, 40_118_087),
    ("fcn32s-fc7x7", 7, False, 134_489_927),
    ("fcn32s-fc1x1", 7, False, 33_826_631),
    ("fcn8s", 7, False, 39_936_885),
    ("deeplabv3-resnet101", 7, True, 60_989_006),
    ("deeplabv3-resnet101", 7, False, 58_627_399),
    ("resnet18", 1000, False, 11_689_512),
    ("resnet34", 1000, False, 21_797_672),
    ("resnet50", 1000, False, 25_557_032),
    ("resnet101", 1000, False, 44_549_160),
    ("resnet101", 50, False, 42_602_610),
    ("resnet152", 1000, False, 60_192_808),
    ("densenet201-mlp", 7, False, 20_717_959),
]
"""Model, classes, whether with the auxiliary head, and what the systems were published with at width 1."""

every_model = pytest.mark.parametrize("name", list_models())
every_divisor = pytest.mark.parametrize("name", [name for name in list_models() if MODELS[name].size_divisor > 1])
every_free_size = pytest.mark.parametrize("name", [name for name in list_models() if MODELS[name].size_divisor == 1])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def narrow(name: str) -> nn.Module:
    return create_model(name, classes=CLASSES, width=NARROW)


@cache
def full_size(name: str, classes: int = CLASSES, *, auxiliary: bool = False) -> nn.Module:
    """At width 1, without the memory or the time of its values; not to be changed."""
    with torch.device("meta"):
        return create_model(name, classes, options={"auxiliary": True} if auxiliary else None).eval()


@torch.no_grad()
def stirred(name: str) -> nn.Module:
    """In evaluation mode, no weight at zero and every normalisation fed with what it really gets, so that every path through
    the model shows in its output.
    """
    model = narrow(name).train()
    for parameter in model.parameters():
        parameter.add_(0.02 * torch.randn_like(parameter))
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0  # the statistics of one batch, not a tenth of the way to them
    model(torch.randn(4, 3, 64, 64))
    return model.eval()


def logits_shape(name: str, batch: int, height: int, width: int) -> tuple[int, ...]:
    return (batch, CLASSES, height, width) if model_entry(name).task == "segmentation" else (batch, CLASSES)


@every_model
def test_logits_have_the_shape_of_the_task(name: str) -> None:
    model = narrow(name).eval()
    for batch, height, width in ((1, 64, 64), (3, 64, 96)):
        with torch.inference_mode():
            logits = model(torch.randn(batch, 3, height, width))
        assert logits.shape == logits_shape(name, batch, height, width)
        assert logits.dtype == torch.float32 and torch.isfinite(logits).all()


@every_model
@pytest.mark.parametrize("classes", [1, 11])
def test_the_head_has_a_channel_a_class(name: str, classes: int) -> None:
    assert full_size(name, classes)(torch.empty(1, 3, 64, 64, device="meta")).shape[1] == classes


@every_divisor
@pytest.mark.parametrize(("rows", "columns"), [(5, 0), (0, 1), (1, -1)])
def test_another_size_is_refused_with_the_size_to_use(name: str, rows: int, columns: int) -> None:
    divisor = model_entry(name).size_divisor
    height, width = 2 * divisor + rows, 2 * divisor + columns
    padded = f"{2 * divisor + (divisor if rows > 0 else 0)} x {2 * divisor + (divisor if columns > 0 else 0)}"
    with pytest.raises(
        ValueError, match=f"^image is {height} x {width}, expected multiples of {divisor}; pad it to {padded}$"
    ):
        narrow(name)(torch.randn(2, 3, height, width))


@every_free_size
def test_any_size_is_taken_where_the_registry_says_so(name: str) -> None:
    model = narrow(name).eval()
    for height, width in ((33, 47), (48, 48), (101, 64)):
        with torch.inference_mode():
            logits = model(torch.randn(2, 3, height, width))
        assert logits.shape == logits_shape(name, 2, height, width) and torch.isfinite(logits).all()


@every_model
def test_a_few_steps_lower_the_loss_on_eight_samples(name: str) -> None:
    images, labels = _eight_scenes() if model_entry(name).task == "segmentation" else _eight_colours()
    model = narrow(name).train()
    for layer in model.modules():
        if isinstance(layer, nn.Dropout | nn.Dropout2d):
            layer.eval()  # it would make the losses noisy, not the model wrong
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # the eight samples are learned by heart: a tenth less after 12 steps is far below what a working model reaches
    assert losses[-1] < 0.9 * losses[0]


def _eight_scenes() -> tuple[Tensor, Tensor]:
    scenes = [make_scene(0, index, 64) for index in range(8)]
    images = normalise(torch.from_numpy(np.stack([s[0] for s in scenes])), IMAGENET_MEAN_RGB, IMAGENET_STD_RGB)
    return images, torch.from_numpy(np.stack([s[1] for s in scenes]).astype(np.int64))


def _eight_colours() -> tuple[Tensor, Tensor]:
    """Noise on the colour of the class, 32 x 32."""
    labels = torch.arange(8) % CLASSES
    return torch.randn(CLASSES, 3, 1, 1)[labels] + 0.3 * torch.randn(8, 3, 32, 32), labels


@every_model
def test_every_parameter_gets_a_gradient(name: str) -> None:
    model = stirred(name)
    model(torch.randn(2, 3, 64, 64)).square().mean().backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@every_model
def test_evaluation_is_deterministic_and_a_batch_agrees_with_single_runs(name: str) -> None:
    # in float64: a hundred fresh layers would make a float32 rounding as large as a small mistake
    model, images = stirred(name).double(), torch.randn(3, 3, 64, 96).double()
    with torch.inference_mode():
        together, single = model(images), torch.cat([model(image[None]) for image in images])
        assert torch.equal(model(images), together)
    largest = float(single.abs().max())
    assert (single[0] - single[1]).abs().max() > 1e-3 * largest  # the images are told apart at all
    # sums may be ordered otherwise in another batch: float64's 1e-16, and what the layers make of it
    assert torch.allclose(together, single, rtol=0, atol=1e-10 * largest)


@every_model
def test_the_registry_says_what_the_model_is(name: str) -> None:
    entry = model_entry(name)
    assert full_size(name).size_divisor == entry.size_divisor
    assert entry.task in ("segmentation", "classification") and entry.summary


@pytest.mark.parametrize(("name", "classes", "auxiliary", "count"), PARAMETERS)
def test_parameter_counts_at_full_width(name: str, classes: int, auxiliary: bool, count: int) -> None:
    assert sum(p.numel() for p in full_size(name, classes, auxiliary=auxiliary).parameters()) == count


def test_parameter_counts_are_held_for_every_model_but_two() -> None:
    assert set(list_models()) - {name for name, *_ in PARAMETERS} == {"unet", "cnn3"}  # nobody printed theirs


@every_model
def test_every_convolution_and_pooling_has_the_size_of_the_formula(name: str) -> None:
    """floor((W + 2p - d(k-1) - 1) / s) + 1, at full width and, where the model takes any, at an odd size."""
    checked: list[str] = []

    def check(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        for axis in (0, 1):
            size = inputs[0].shape[2 + axis]
            k, s, p = (_axis(layer, what, axis) for what in ("kernel_size", "stride", "padding"))
            d = _axis(layer, "dilation", axis) if hasattr(layer, "dilation") else 1  # average pooling has none
            assert output.shape[2 + axis] == math.floor((size + 2 * p - d * (k - 1) - 1) / s) + 1
        checked.append(type(layer).__name__)

    model = full_size(name)
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d)]
    handles = [layer.register_forward_hook(check) for layer in layers]
    model(torch.empty(1, 3, *((75, 101) if model_entry(name).size_divisor == 1 else (64, 96)), device="meta"))
    for handle in handles:
        handle.remove()
    pools = 3 if name == "unet" else 0  # one module, run four times
    assert len(checked) == len(layers) + pools >= 6


def _axis(layer: nn.Module, what: str, axis: int) -> int:
    value = getattr(layer, what)
    return int(value[axis]) if isinstance(value, tuple) else int(value)


@every_model
@pytest.mark.parametrize("width", [0, -1.0, 4.5, float("nan"), float("inf")])
def test_a_width_out_of_range_is_refused(name: str, width: float) -> None:
    with pytest.raises(UsageError, match=f"width is {width}, expected above 0 and at most 4"):
        create_model(name, width=width)


@every_model
def test_classes_out_of_range_are_refused(name: str) -> None:
    most = 256 if model_entry(name).task == "segmentation" else 10_000
    for classes in (0, -3, most + 1):
        with pytest.raises(UsageError, match=f"^classes is {classes}, expected 1 to {most}$"):
            create_model(name, classes=classes)


@every_model
def test_an_unknown_option_lists_the_known(name: str) -> None:
    with pytest.raises(UsageError, match=rf"^{name} has no option 'wings'; known options: [a-z_0-9, ]+$"):
        create_model(name, options={"wings": 2})
