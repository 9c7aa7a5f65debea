"""Casting a network: what is folded, what stays in float32, and that it still says what it said."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dlcv.export.precision.cast import network_at
from dlcv.train.checkpoints.ensemble import EnsembleNetwork
from dlcv.train.models import create_model

RELATIVE = {"fp16": 0.02, "bf16": 0.15}
"""Of the largest logit: tens of layers rounded to 11 or 8 bits."""


@pytest.mark.parametrize("precision", RELATIVE)
@pytest.mark.parametrize(("name", "side"), [("fcn8s", 64), ("unet", 64), ("resnet18", 48), ("cnn3", 32)])
def test_a_cast_network_says_nearly_the_same(name: str, side: int, precision: str) -> None:
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(3)
        network = create_model(name, classes=4, width=0.05).eval()
        image = torch.randn(2, 3, side, side)
        expected, before = network(image), {k: v.clone() for k, v in network.state_dict().items()}
        low = network_at(network, precision, (side, side))
        found = low(image)
    assert found.dtype == torch.float32
    assert not any(isinstance(module, nn.BatchNorm2d) for module in low.modules())
    kinds = {module.weight.dtype for module in low.modules() if isinstance(module, nn.Conv2d)}
    assert kinds == {torch.float16 if precision == "fp16" else torch.bfloat16}
    ups = {module.weight.dtype for module in low.modules() if isinstance(module, nn.ConvTranspose2d)}
    assert ups <= {torch.float32 if precision == "bf16" else torch.float16}
    assert (found - expected).abs().max() <= RELATIVE[precision] * expected.abs().max()
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items()), "the network itself stays"


def test_a_variance_beyond_float16_is_folded_before_the_cast() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4)).eval()
    with torch.inference_mode():
        for norm in (network[1], network[3]):
            norm.running_var.fill_(1e6)
            norm.weight.fill_(1e3)
        image = torch.randn(1, 3, 8, 8)
        expected, found = network(image), network_at(network, "fp16", (8, 8))(image)
    assert (found - expected).abs().max() <= 0.01 * expected.abs().max()


def test_an_ensemble_is_averaged_in_float32() -> None:
    members = [create_model("cnn3", classes=4, width=0.05).eval() for _ in range(2)]
    low = network_at(EnsembleNetwork(members), "fp16", (32, 32))
    assert isinstance(low, EnsembleNetwork)
    assert low(torch.zeros(1, 3, 32, 32)).dtype == torch.float32


def test_a_restored_layer_keeps_its_weights_and_what_it_gives() -> None:
    """A weight beyond float16, and a value beyond it between two restored layers, come through."""
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    with torch.inference_mode():
        network[0].weight.mul_(1e6)
        network[2].weight.mul_(1e-6)
        image = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        expected = network(image)
        assert not network_at(network, "fp16", (8, 8))(image).isfinite().all(), "the control"
        low = network_at(network, "fp16", (8, 8), ("0", "2"))
        found = low(image)
    assert {m.weight.dtype for m in low.modules() if isinstance(m, nn.Conv2d)} == {torch.float16, torch.float32}
    assert (found - expected).abs().max() <= 0.01 * expected.abs().max()  # the last layer's 11 bits


def test_a_member_of_an_ensemble_is_restored_by_its_own_name() -> None:
    members = [create_model("cnn3", classes=4, width=0.05).eval() for _ in range(2)]
    low = network_at(EnsembleNetwork(members), "fp16", (32, 32), ("members.1.fc",))
    kinds = [{m.weight.dtype for m in member.modules() if isinstance(m, nn.Linear)} for member in low.members]
    assert kinds == [{torch.float16}, {torch.float32}]
    assert low(torch.zeros(1, 3, 32, 32)).dtype == torch.float32
