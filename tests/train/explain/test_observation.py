"""One pass against brute force: the strongest images, and the mean features of regions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.train.explain.layers import classifier_of, layers_of
from dlcv.train.explain.observation import Strongest, observe
from dlcv.train.explain.subject import Subject
from dlcv.train.explain.watching import output_of


def test_the_strongest_images_are_those_of_brute_force(
    subject_of: Callable[..., Subject], labelled_noise: Callable[..., LabelledSet[Any]]
) -> None:
    """Every image alone, every unit looked at; more images than go through the model at once."""
    subject = subject_of("resnet18", 32)
    labelled = labelled_noise(subject.card, 70)
    layers = layers_of(subject.model, (32, 32))
    layer = next(layer for layer in layers if layer.name == "layer2.0.conv1")
    assert layer.read_at == "layer2.0.bn1"
    seen = observe(subject, labelled, labelled.examples, classifier_of("resnet18", layers), [layer], top=5)
    found = seen.strongest[layer.name]

    maps = []
    for example in labelled.examples:
        with torch.no_grad():
            inputs = subject.normalised(subject.pixels([labelled.image(example)]))
            maps.append(output_of(subject.model, layer.read_at, inputs)[0].numpy())
    activation = np.stack(maps)  # (70, C, h, w)
    assert len(labelled) > subject.batch
    for index in range(layer.channels):
        highest = activation[:, index].reshape(70, -1).max(1)
        expected = np.argsort(-highest, kind="stable")[:5]
        assert found.images[:, index].tolist() == expected.tolist()
        # batches of other sizes add in another order
        np.testing.assert_allclose(found.values[:, index], highest[expected], rtol=1e-4, atol=1e-5)
        for rank, image in enumerate(expected):
            y, x = (int(share * side) for share, side in zip(found.places[rank, index], activation.shape[2:]))
            assert activation[image, index, y, x] == highest[image]


def test_equal_activations_keep_the_order_and_few_images_are_all_kept() -> None:
    strongest = Strongest(1, 3)
    strongest.add(torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1))
    assert strongest.images[:, 0].tolist() == [1, 0]
    strongest.add(torch.tensor([2.0, 1.0, 2.0]).reshape(3, 1, 1, 1))
    assert strongest.images[:, 0].tolist() == [1, 2, 4]
    assert strongest.values[:, 0].tolist() == [2, 2, 2]
    assert strongest.places[0, 0].tolist() == [0.5, 0.5]


def test_a_point_of_a_tile_is_the_mean_over_the_pixels_of_a_class(
    subject_of: Callable[..., Subject], labelled_noise: Callable[..., LabelledSet[Any]]
) -> None:
    """unet's features have the image's size, so that the mean is plain; class 1 is the right half."""
    subject = subject_of("unet", 32)
    labelled = labelled_noise(subject.card, 3)
    layers = layers_of(subject.model, (32, 32))
    features = observe(subject, labelled, labelled.examples, classifier_of("unet", layers)).features
    assert features.names == [f"noise-{k // 2}" for k in range(6)]
    assert features.labels == [0, 1] * 3
    assert features.share == [0.5] * 6

    with torch.no_grad():
        inputs = subject.normalised(subject.pixels([labelled.image(labelled.examples[2])]))
        before = torch.relu(output_of(subject.model, "join.3.4", inputs))[0]
        said = subject.model(inputs)[0].argmax(0)[:, 16:]
    np.testing.assert_allclose(features.values[5], before[:, :, 16:].mean((1, 2)).numpy(), rtol=1e-4, atol=1e-6)
    assert features.predicted[5] == int(torch.bincount(said.flatten()).argmax())


def test_uncounted_classes_and_slivers_give_no_point(
    subject_of: Callable[..., Subject], labelled_noise: Callable[..., LabelledSet[Any]]
) -> None:
    subject = subject_of("unet", 32)
    labelled = labelled_noise(subject.card, 1)
    labelled.uncounted = (1,)
    layers = layers_of(subject.model, (32, 32))
    assert observe(subject, labelled, labelled.examples, classifier_of("unet", layers)).features.labels == [0]
