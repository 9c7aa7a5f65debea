"""The model is left as it was: mode, gradients, buffers, hooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.train.explain.layers import classifier_of, default_layers, layers_of
from dlcv.train.explain.maximisation import maximise
from dlcv.train.explain.observation import observe
from dlcv.train.explain.receptive import receptive_field
from dlcv.train.explain.saliency import saliency
from dlcv.train.explain.subject import Subject, View
from dlcv.train.explain.watching import hooked, output_of, quiet


def hooks_of(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_nothing_is_left_behind(
    subject_of: Callable[..., Subject],
    labelled_noise: Callable[..., LabelledSet[Any]],
    random_view: Callable[..., View],
) -> None:
    """Everything that looks into a model whose batch normalisation would learn in training mode."""
    subject = subject_of("resnet18")
    subject.model.train()
    subject.model.get_submodule("layer1").eval()
    next(subject.model.parameters()).requires_grad_(False)
    modes = [module.training for module in subject.model.modules()]
    wanted = [parameter.requires_grad for parameter in subject.model.parameters()]
    before = {name: tensor.clone() for name, tensor in subject.model.state_dict().items()}
    assert any(name.endswith("running_mean") for name in before)

    layers = layers_of(subject.model, (64, 64))
    chosen, labelled = default_layers("resnet18", layers), labelled_noise(subject.card)
    observe(subject, labelled, labelled.examples, classifier_of("resnet18", layers), chosen)
    saliency(subject, random_view(64))
    maximise(subject, chosen[1], [0, 1], steps=2, seed=0)
    receptive_field(subject, chosen[0])

    assert hooks_of(subject.model) == 0
    assert [module.training for module in subject.model.modules()] == modes
    assert [parameter.requires_grad for parameter in subject.model.parameters()] == wanted
    assert all(parameter.grad is None for parameter in subject.model.parameters())
    for name, tensor in subject.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_hooks_go_and_modes_return_on_an_error(subject_of: Callable[..., Subject]) -> None:
    model = subject_of("cnn3").model.train()
    with pytest.raises(ZeroDivisionError), quiet(model), hooked(model, [("conv1", lambda *_: 1 / 0)]):
        model(torch.zeros(1, 3, 64, 64))
    assert hooks_of(model) == 0
    assert model.training


def test_a_layers_output_is_taken_before_the_next_overwrites_it(subject_of: Callable[..., Subject]) -> None:
    """ReLU(inplace=True) follows conv1; and what comes behind the layer is not run."""
    model = subject_of("cnn3").model
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    taken = output_of(model, "conv1", images)
    conv1 = model.get_submodule("conv1")
    assert torch.equal(taken, conv1(images))
    assert (taken < 0).any()
    ran: list[str] = []
    with hooked(model, [("fc", lambda *_: ran.append("fc"))]):
        output_of(model, "conv2", images)
    assert ran == []
    assert output_of(model, "fc", images).shape == (2, 4, 1, 1)
