"""Images of four classes that are told apart by their tint, and a classifier that has learnt them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import nn

    from dlcv.runtime.card.card import ModelCard

TINY_CLASSES = ("blood", "grass", "night", "sea")
"""Sorted, as a folder per class gives them."""


def coloured(count: int, seed: int) -> list[tuple[NDArray[np.uint8], int]]:
    """`count` images of each class with its index, uint8 (40, 52, 3) or (52, 40, 3), RGB."""
    rng, found = np.random.default_rng(seed), []
    for number in range(count * len(TINY_CLASSES)):
        label = number % len(TINY_CLASSES)
        shape = (40, 52, 3) if number % 2 else (52, 40, 3)
        tint = np.full(3, 100.0)
        tint[label % 3] += 25 if label < 3 else -25
        image = tint + rng.normal(0, 12, 3) + rng.normal(0, 40, shape)  # an own tint each: some are hard to tell
        found.append((np.clip(image, 0, 255).astype(np.uint8), label))
    return found


def trained_on_colours(card: ModelCard) -> nn.Module:
    import torch

    from dlcv.runtime.fitting.fitting import fit_to_card
    from dlcv.train.models import create_model
    from dlcv.train.preprocess import normalise

    examples = coloured(12, seed=0)
    images = np.stack([fit_to_card(image_rgb, card).windows[0] for image_rgb, _ in examples])
    inputs = normalise(torch.from_numpy(images), card.mean_rgb, card.std_rgb)
    labels = torch.tensor([label for _, label in examples])
    model = create_model(card.model, classes=len(card.classes), width=card.width)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    return model.eval()
