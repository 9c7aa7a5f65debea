"""Every model of the registry: which layer decides, what its features are, which layers are shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.errors import UsageError
from dlcv.train.explain.layers import chosen_layers, classifier_of, default_layers, layers_of
from dlcv.train.explain.observation import observe
from dlcv.train.explain.subject import Subject
from dlcv.train.models.layers import scaled
from dlcv.train.models.registry import list_models

WIDTH = 0.05
CLASSIFIERS = {
    "fcn8s": ("score", 4096, 1),
    "fcn32s": ("score", 4096, 1),
    "fcn32s-fc7x7": ("score", 4096, 1),
    "fcn32s-fc1x1": ("score", 4096, 1),
    "unet": ("score", 64, 1),
    "deeplabv3-resnet101": ("classifier.4", 256, 1),
    "resnet18": ("fc", 512, 1),
    "resnet34": ("fc", 512, 1),
    "resnet50": ("fc", 512, 4),
    "resnet101": ("fc", 512, 4),
    "resnet152": ("fc", 512, 4),
    "densenet201-mlp": ("classifier.9", 256, 1),
    "cnn3": ("fc", 512, 1),
}
"""The layer that decides; its input channels at width 1 before the expansion, and the expansion of a bottleneck."""


def test_every_model_is_listed_here() -> None:
    assert sorted(CLASSIFIERS) == list_models()


@pytest.mark.parametrize("name", sorted(CLASSIFIERS))
def test_penultimate_features(
    name: str, subject_of: Callable[..., Subject], labelled_noise: Callable[..., LabelledSet[Any]]
) -> None:
    subject = subject_of(name)
    layers = layers_of(subject.model, (64, 64))
    classifier = classifier_of(name, layers)
    expected, channels, expansion = CLASSIFIERS[name]
    assert classifier.name == expected
    assert classifier.channels == 4

    labelled = labelled_noise(subject.card)
    features = observe(subject, labelled, labelled.examples, classifier, default_layers(name, layers)).features
    points = 4 if subject.card.task == "segmentation" else 2  # two classes in each of two tiles, or two images
    assert np.stack(features.values).shape == (points, scaled(channels, WIDTH) * expansion)
    assert len(features.names) == len(features.labels) == len(features.predicted) == points
    assert np.stack(features.values).std() > 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", {"conv1": "bn1", "layer2.1.conv2": "layer2.1.bn2", "layer4.1.conv2": "layer4.1.bn2"}),
        ("cnn3", {"conv1": "conv1", "conv2": "conv2", "conv3": "conv3"}),
        ("fcn8s", {"features.0": "features.0", "features.17": "features.17", "fc7": "fc7"}),
        ("unet", {"down.0.0": "down.0.1", "down.4.0": "down.4.1", "join.3.3": "join.3.4"}),
    ],
)
def test_the_first_a_middle_and_the_last_are_shown_behind_their_normalisation(
    name: str, expected: dict[str, str], subject_of: Callable[..., Subject]
) -> None:
    subject = subject_of(name)
    layers = layers_of(subject.model, (64, 64))
    assert {layer.name: layer.read_at for layer in default_layers(name, layers)} == expected


def test_a_normalisation_of_something_else_is_not_taken_for_the_layers_own(subject_of: Callable[..., Subject]) -> None:
    """In a dense block the next normalisation reads all that was concatenated."""
    layers = {layer.name: layer for layer in layers_of(subject_of("densenet201-mlp").model, (64, 64))}
    second = layers["features.denseblock1.denselayer1.conv2"]
    assert second.read_at == second.name
    assert layers["features.denseblock1.denselayer1.conv1"].read_at == "features.denseblock1.denselayer1.norm2"


def test_an_unknown_layer_lists_those_that_exist(subject_of: Callable[..., Subject]) -> None:
    layers = layers_of(subject_of("cnn3").model, (64, 64))
    assert [layer.name for layer in chosen_layers("cnn3", layers, ("fc", "conv1", "fc"))] == ["fc", "conv1"]
    with pytest.raises(
        UsageError, match=r"^cnn3 has no convolution or linear layer 'conv9'; it has conv1, conv2, conv3, fc$"
    ):
        chosen_layers("cnn3", layers, ("conv1", "conv9"))
