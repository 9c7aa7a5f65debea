"""ResNets: where the stride stands, what it costs, dilation, and the start."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dlcv.benchmarks.operations import count_operations
from dlcv.train.models import create_model
from dlcv.train.models.resnet import Bottleneck, resnet_layers

BOTTLENECKS = ("resnet50", "resnet101", "resnet152")
USUAL_G = {"resnet18": 1.814, "resnet34": 3.664, "resnet50": 4.089, "resnet101": 7.801, "resnet152": 11.514}
"""Multiply-adds in units of 1e9 at 224 x 224, 1000 classes, as torchvision 0.29.2 prints them with its weights."""

PAPER_G = {"resnet18": 1.8, "resnet34": 3.6, "resnet50": 3.8, "resnet101": 7.6, "resnet152": 11.3}
"""The same with the stride in the first 1 x 1: He et al. 2016, table 1."""


@pytest.mark.parametrize("name", USUAL_G)
def test_multiply_adds_at_224(name: str) -> None:
    usual, paper = (
        count_operations(name, (224, 224), classes=1000, options={"stride_in_1x1": option}).multiply_adds / 1e9
        for option in (False, True)
    )
    assert round(usual, 3) == USUAL_G[name]
    # the paper cuts some figures (3.66 to 3.6, 3.86 to 3.8) and rounds others (7.58 to 7.6)
    assert PAPER_G[name] - 0.05 <= paper < PAPER_G[name] + 0.1


@pytest.mark.parametrize("name", BOTTLENECKS)
def test_the_option_moves_the_stride_and_nothing_else(name: str) -> None:
    with torch.device("meta"):
        paper, usual = (create_model(name, options={"stride_in_1x1": option}) for option in (True, False))
    shapes = [{k: v.shape for k, v in model.state_dict().items()} for model in (paper, usual)]
    assert shapes[0] == shapes[1]
    for stage in ("layer2", "layer3", "layer4"):
        first, other = getattr(paper, stage)[0], getattr(usual, stage)[0]
        assert (first.conv1.stride, first.conv2.stride) == ((2, 2), (1, 1))
        assert (other.conv1.stride, other.conv2.stride) == ((1, 1), (2, 2))
        assert first.downsample[0].stride == other.downsample[0].stride == (2, 2)
    for model in (paper, usual):
        strides = [layer.stride for layer in model.modules() if isinstance(layer, nn.Conv2d)]
        assert strides.count((2, 2)) == 1 + 3 + 3  # the stem, three stages, their shortcuts


def test_the_option_makes_no_difference_to_basic_blocks() -> None:
    image = torch.randn(1, 3, 64, 64)
    outputs = []
    for option in (True, False):
        torch.manual_seed(0)
        with torch.no_grad():
            outputs.append(create_model("resnet18", width=0.1, options={"stride_in_1x1": option}).eval()(image))
    assert torch.equal(*outputs)


@pytest.mark.parametrize(("dilated", "size"), [(0, (2, 3)), (1, (4, 6)), (2, (8, 12))])
def test_dilation_takes_the_place_of_stride(dilated: int, size: tuple[int, int]) -> None:
    with torch.device("meta"):
        layers = resnet_layers(50, dilated_stages=dilated)
        assert nn.Sequential(layers)(torch.empty(1, 3, 64, 96)).shape == (1, 2048, *size)
    dilations = [
        [block.conv2.dilation[0] for block in layers[stage] if isinstance(block, Bottleneck)]
        for stage in ("layer2", "layer3", "layer4")
    ]
    # a stage's first block reads the grid of the stage before it
    assert dilations == {
        0: [[1] * 4, [1] * 6, [1] * 3], 1: [[1] * 4, [1] * 6, [1, 2, 2]], 2: [[1] * 4, [1] + [2] * 5, [2, 4, 4]]
    }[dilated]  # fmt: skip


def test_a_block_whose_last_scale_is_zero_is_the_identity() -> None:
    block = Bottleneck(32, 8, stride=1, dilation=1, stride_in_1x1=False).eval()
    assert block.downsample is None
    nn.init.zeros_(block.bn3.weight)
    x = torch.rand(2, 32, 5, 5)
    with torch.no_grad():
        assert torch.equal(block(x), x)


def test_fresh_weights_have_the_spread_of_he() -> None:
    torch.manual_seed(0)
    for name, layer in create_model("resnet18").named_modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.out_channels * math.prod(layer.kernel_size)
            # the deviation of n normal values is known to 1 / sqrt(2 n): 0.5 % for the smallest layer here
            assert float(layer.weight.detach().std()) == pytest.approx(math.sqrt(2 / fan_out), rel=0.03), name
        elif isinstance(layer, nn.BatchNorm2d):
            assert bool((layer.weight == 1).all()) and bool((layer.bias == 0).all())


def test_a_constant_batch_normalises_to_beta() -> None:
    """In training mode: its deviation from its mean is 0, whatever gamma is."""
    layer = create_model("resnet18", width=0.1).bn1.train()
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    constants = torch.randn(layer.num_features)[None, :, None, None]
    with torch.no_grad():
        y = layer(constants.expand(4, -1, 6, 5).contiguous())
    # the float32 mean of 120 equal values may be a rounding beside them: 1e-7, divided by sqrt(eps) = 3e-3 and times gamma
    assert torch.allclose(y, layer.bias[None, :, None, None].expand_as(y), atol=5e-4)
