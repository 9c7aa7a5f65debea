"""The model that is looked into, and images as it takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.datasets.labelled import Example, LabelledSet
from dlcv.runtime.fitting.fitting import fit_tile, fit_to_card
from dlcv.train.preprocess import normalise

BATCH_PIXELS = 1 << 18
"""Of the images that go through the model at once: a 512 x 512 tile, or 64 images of 64 x 64. It bounds memory."""


@dataclass(frozen=True)
class View:
    """What the model sees of a labelled image: the image itself, or of a larger tile the window in its middle.

    Attributes:
        name: of the image within its set.
        image: uint8 (H, W, 3), RGB, of the model's size.
        label: uint8 (H, W), class indices, for segmentation; int64 (), a class index, for classification.
    """

    name: str
    image: NDArray[np.uint8]
    label: NDArray[Any]


@dataclass(frozen=True)
class Subject:
    """A model with its card.

    Attributes:
        model: takes normalised float (N, 3, H, W); on `device`.
        card: of the model.
        device: where it runs.
    """

    model: nn.Module
    card: ModelCard
    device: torch.device

    @property
    def batch(self) -> int:
        """Images that go through the model at once."""
        height, width = self.card.input_size_hw
        return max(1, min(64, BATCH_PIXELS // (height * width)))

    def pixels(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """uint8 (H, W, 3) each -> float (N, H, W, 3) in 8-bit levels, on the device."""
        return torch.from_numpy(np.stack(images)).to(self.device, torch.float32)

    def normalised(self, pixels: Tensor) -> Tensor:
        """float (N, H, W, 3), 8-bit levels -> float (N, 3, H, W) as the model takes it; differentiable."""
        return normalise(pixels, self.card.mean_rgb, self.card.std_rgb)

    def denormalised(self, inputs: Tensor) -> NDArray[np.uint8]:
        """float (N, 3, H, W) as the model takes it -> uint8 (N, H, W, 3), RGB, rounded and cut to 0..255."""
        mean, std = (torch.tensor(values, device=inputs.device) for values in (self.card.mean_rgb, self.card.std_rgb))
        levels = (inputs.detach().permute(0, 2, 3, 1) * std + mean).round().clamp(0, 255)  # (N, H, W, 3)
        return levels.to(torch.uint8).cpu().numpy()

    def views(self, labelled: LabelledSet[Any], examples: Sequence[Example]) -> Iterator[list[View]]:
        """The views of these examples, in batches.

        Raises:
            DatasetError: when an image or its label cannot be read.
        """
        for start in range(0, len(examples), self.batch):
            yield [view_of(labelled, example, self.card) for example in examples[start : start + self.batch]]


def view_of(labelled: LabelledSet[Any], example: Example, card: ModelCard) -> View:
    """Reads an example and fits image and label alike.

    Raises:
        DatasetError: when either cannot be read.
    """
    image, label = labelled.read(example)
    if card.task == "classification":
        return View(example.name, fit_to_card(image, card).windows[0], label)
    image, label = (_middle(array, card.input_size_hw) for array in (image, label))
    return View(example.name, image, label)


def _middle(array: NDArray[Any], size_hw: tuple[int, int]) -> NDArray[Any]:
    """The window in the middle of uint8 (h, w) or (h, w, 3); a smaller side is padded by reflection."""
    for axis, side in enumerate(size_hw):
        if array.shape[axis] > side:
            start = (array.shape[axis] - side) // 2
            array = np.take(array, range(start, start + side), axis)
    return fit_tile(array, size_hw, "pad").windows[0]
