"""Small models behind a card, and images for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.train.explain.subject import Subject, View
from dlcv.train.models.registry import create_model, model_entry

WIDTH = 0.05


def card_for(model: str, side: int, task: str, classes: int = 4) -> ModelCard:
    """A card for square images, normalised to about -2..2."""
    own: dict[str, Any] = {"palette": tuple((40 * k, 0, 0) for k in range(classes))}
    if task == "classification":
        own = {"palette": (), "fit": "centre-crop", "short_side": side}
    return ModelCard(
        model=model, width=WIDTH, task=task, classes=tuple(f"class {k}" for k in range(classes)),
        input_size_hw=(side, side), mean_rgb=(120.0, 115.0, 110.0), std_rgb=(60.0, 58.0, 57.0), **own,
    )  # fmt: skip


@pytest.fixture(scope="session")
def subject_of() -> Callable[..., Subject]:
    """Name, side, classes -> a narrow model of the registry with seeded weights, on the CPU."""

    def make(name: str, side: int = 64, classes: int = 4) -> Subject:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            model = create_model(name, classes=classes, width=WIDTH).eval()
        return Subject(model, card_for(name, side, model_entry(name).task, classes), torch.device("cpu"))

    return make


@pytest.fixture(scope="session")
def subject_around() -> Callable[..., Subject]:
    """A module, side, task, classes -> it behind a card."""

    def make(model: nn.Module, side: int, task: str, classes: int) -> Subject:
        return Subject(
            model.eval(),
            card_for("cnn3" if task == "classification" else "unet", side, task, classes),
            torch.device("cpu"),
        )

    return make


def random_image(side: int, seed: int) -> NDArray[np.uint8]:
    """uint8 (side, side, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


@pytest.fixture(scope="session")
def random_view() -> Callable[..., View]:
    """Side, seed -> noise with the label 0."""
    return lambda side, seed=0: View(f"noise-{seed}", random_image(side, seed), np.array(0, np.int64))


@dataclass(frozen=True)
class Named:
    """An example that is a name alone."""

    name: str


class LabelledNoise(LabelledSet[Named]):
    """Images of noise. The label of an image is its number; a tile is class 0 on its left and class 1 on its right half.

    Args:
        card: whose size, task and classes they have.
        count: how many.
        called: what their names begin with.
    """

    def __init__(self, card: ModelCard, count: int = 2, called: str = "noise") -> None:
        self.task, self.name, self.classes, self.card = card.task, "noise", card.classes, card
        self.examples = tuple(Named(f"{called}-{k}") for k in range(count))

    def read(self, example: Named) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        return self.image(example), self.label(example)

    def image(self, example: Named) -> NDArray[np.uint8]:
        return random_image(self.card.input_size_hw[0], int(example.name.split("-")[-1]))

    def label(self, example: Named) -> NDArray[Any]:
        if self.task == "classification":
            return np.array(int(example.name.split("-")[-1]) % len(self.classes), np.int64)
        label = np.zeros(self.card.input_size_hw, np.uint8)
        label[:, self.card.input_size_hw[1] // 2 :] = 1
        return label

    def sha256(self, example: Named) -> str:
        raise NotImplementedError

    def counts(self) -> NDArray[np.int64]:
        raise NotImplementedError

    def description(self) -> Mapping[str, Any]:
        raise NotImplementedError


@pytest.fixture(scope="session")
def labelled_noise() -> Callable[..., LabelledNoise]:
    """Card, count -> labelled noise."""
    return LabelledNoise
