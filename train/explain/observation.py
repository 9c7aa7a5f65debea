"""One pass over the images: the penultimate features of each, and what activates each filter most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dlcv.runtime.datasets.labelled import Example, LabelledSet
from dlcv.runtime.errors import DlcvError
from dlcv.train.explain.layers import Layer
from dlcv.train.explain.subject import Subject, View
from dlcv.train.explain.watching import Ran, as_map, hooked, quiet

LEAST_SHARE = 0.01
"""Of a tile: a class that covers less gives no point, its features would be those of its neighbours."""


@dataclass
class Features:
    """Penultimate features, a row each for an image (classification) or for a class's region of a tile (segmentation).

    Attributes:
        values: float32 (n, features).
        names: of the images.
        labels: the class index of each.
        predicted: the class that the model gives it; of a region the one it gives most of the pixels.
        share: of the tile's pixels in the region; 1 for a whole image.
    """

    values: list[NDArray[np.float32]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    predicted: list[int] = field(default_factory=list)
    share: list[float] = field(default_factory=list)

    def add(self, value: Tensor, name: str, label: int, predicted: int, share: float) -> None:
        """Takes float (features,)."""
        self.values.append(value.float().cpu().numpy())
        self.names.append(name)
        self.labels.append(label)
        self.predicted.append(predicted)
        self.share.append(share)


class Strongest:
    """For each filter of a layer the images with its highest activations, each image once, with the place.

    Args:
        channels: how many filters.
        count: how many images of each are kept.

    Attributes:
        values: float32 (kept, channels), highest first; of equal ones the image that came first.
        images: int64 (kept, channels), the how manyeth image it was.
        places: float32 (kept, channels, 2), the middle of the unit from the top and from the left, as shares of the sides.
    """

    def __init__(self, channels: int, count: int) -> None:
        self._count, self._seen = count, 0
        self.values = np.empty((0, channels), np.float32)
        self.images = np.empty((0, channels), np.int64)
        self.places = np.empty((0, channels, 2), np.float32)

    def add(self, activation: Tensor) -> None:
        """Takes the activations of the next images: float (N, C, h, w)."""
        height, width = activation.shape[-2:]
        highest, where = activation.detach().flatten(2).float().max(2)  # (N, C)
        rows, columns = (where // width).cpu().numpy(), (where % width).cpu().numpy()
        places = np.stack([(rows + 0.5) / height, (columns + 0.5) / width], -1).astype(np.float32)
        numbers = np.broadcast_to(self._seen + np.arange(len(rows))[:, None], rows.shape)
        self._seen += len(rows)

        values = np.concatenate([self.values, highest.cpu().numpy()])
        order = np.argsort(-values, 0, kind="stable")[: self._count]  # (kept, C)
        self.values = np.take_along_axis(values, order, 0)
        self.images = np.take_along_axis(np.concatenate([self.images, numbers]), order, 0)
        self.places = np.take_along_axis(np.concatenate([self.places, places]), order[..., None], 0)


@dataclass
class Observation:
    """What one pass has seen.

    Attributes:
        examples: in the order of the pass.
        features: see there.
        strongest: name of a layer -> the images that activate its filters most.
    """

    examples: Sequence[Example]
    features: Features
    strongest: dict[str, Strongest]


def observe(
    subject: Subject,
    labelled: LabelledSet[Any],
    examples: Sequence[Example],
    classifier: Layer,
    layers: Sequence[Layer] = (),
    *,
    top: int = 1,
    advance: Callable[[int], None] = lambda _: None,
) -> Observation:
    """Runs the model over images, in evaluation mode and without gradients.

    Args:
        examples: of `labelled`.
        classifier: what goes into it are the features.
        layers: whose filters are watched.
        top: images kept for each filter.
        advance: called with the number of images done since the last call.

    Raises:
        DatasetError: when an image or its label cannot be read.
        DlcvError: when a feature is not a finite number.
    """
    strongest = {layer.name: Strongest(layer.channels, top) for layer in layers}
    taken: list[Tensor] = []
    features = Features()
    watchers = [(layer.read_at, _adding_to(strongest[layer.name])) for layer in layers]
    with quiet(subject.model), hooked(subject.model, [*watchers, (classifier.name, _taking(taken))]), torch.no_grad():
        for views in subject.views(labelled, examples):
            logits = subject.model(subject.normalised(subject.pixels([view.image for view in views])))
            add = _add_regions if labelled.task == "segmentation" else _add_images
            add(features, views, taken.pop(), logits, labelled)
            advance(len(views))
    if not all(np.isfinite(value).all() for value in features.values):
        raise DlcvError("the features of this model are not all finite numbers; look at its losses, and train it again")
    return Observation(examples, features, strongest)


def _adding_to(strongest: Strongest) -> Ran:
    return lambda _name, _module, _inputs, output: strongest.add(as_map(output))


def _taking(taken: list[Tensor]) -> Ran:
    return lambda _name, _module, inputs, _output: taken.append(inputs[0])


def _add_images(features: Features, views: Sequence[View], taken: Tensor, logits: Tensor, _: LabelledSet[Any]) -> None:
    """Takes float (N, features) and (N, classes)."""
    for view, value, predicted in zip(views, taken.flatten(1), logits.argmax(1).tolist(), strict=True):
        features.add(value, view.name, int(view.label), predicted, 1.0)


def _add_regions(
    features: Features, views: Sequence[View], taken: Tensor, logits: Tensor, labelled: LabelledSet[Any]
) -> None:
    """Takes float (N, features, h, w) and (N, classes, H, W): a point is the mean over a class's pixels of a tile."""
    for view, values, predicted in zip(views, taken, logits.argmax(1), strict=True):
        label = torch.from_numpy(view.label.astype(np.int64)).to(predicted.device)
        for index in range(len(labelled.classes)):
            region = label == index
            share = float(region.float().mean())
            if index in labelled.uncounted or share < LEAST_SHARE:
                continue
            # how much of each of the map's cells the region covers
            weight = functional.adaptive_avg_pool2d(region[None].float(), values.shape[-2:])  # (1, h, w)
            mean = (values * weight).sum((1, 2)) / weight.sum()
            said = int(torch.bincount(predicted[region], minlength=len(labelled.classes)).argmax())
            features.add(mean, view.name, index, said, share)
