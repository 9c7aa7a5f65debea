"""Labelled images of one dataset, whatever the task: what training, evaluation, verification and parity go through."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import DatasetError
from dlcv.runtime.metrics import Tally, make_tally


class Example(Protocol):
    """A labelled image."""

    @property
    def name(self) -> str:
        """Its own within its set, with forward slashes; it stands in `split.csv`."""


E = TypeVar("E", bound=Example)
S = TypeVar("S", bound="LabelledSet[Any]")


class LabelledSet(ABC, Generic[E]):
    """Labelled images and what their labels mean.

    Attributes:
        task: `segmentation` or `classification`.
        name: of the dataset, for messages.
        classes: class names; the position is the class index.
        palette: (R, G, B), 0..255, of each class; empty for classification.
        uncounted: indices of the classes that means over classes leave out.
        examples: the labelled images, in a fixed order.
    """

    task: str
    name: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...] = ()
    uncounted: tuple[int, ...] = ()
    examples: tuple[E, ...]

    def __len__(self) -> int:
        return len(self.examples)

    @abstractmethod
    def read(self, example: E) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """Image and label.

        Returns:
            The image, uint8 (h, w, 3), RGB, and its label: uint8 (h, w), class indices, for segmentation; a class index,
            int64 (), for classification.

        Raises:
            DatasetError: when either cannot be read or they do not fit; names the file.
        """

    @abstractmethod
    def image(self, example: E) -> NDArray[np.uint8]:
        """The image alone; see `read`."""

    @abstractmethod
    def label(self, example: E) -> NDArray[Any]:
        """The label alone; see `read`."""

    @abstractmethod
    def sha256(self, example: E) -> str:
        """The hash of the image's file: what an answer about it is known by."""

    @abstractmethod
    def counts(self) -> NDArray[np.int64]:
        """Pixels (segmentation) or images (classification) of each class over all labels: int64 (classes,)."""

    @abstractmethod
    def description(self) -> Mapping[str, Any]:
        """What labels mean, as JSON values, to be kept with a checkpoint."""

    def with_examples(self: S, examples: Sequence[Any]) -> S:
        """The same dataset with other examples."""
        other = copy(self)
        other.examples = tuple(examples)
        return other

    def evenly(self: S, count: int) -> S:
        """At most `count` examples, evenly spaced."""
        count = min(count, len(self.examples))
        return self.with_examples([self.examples[k * len(self.examples) // count] for k in range(count)])

    def tally(self) -> Tally:
        """An empty tally for answers about these images."""
        return make_tally(self.task, len(self.classes), self.uncounted)

    def require_same_classes(self, card: ModelCard) -> None:
        """Labels and model must speak of the same classes.

        Raises:
            DatasetError: tells both lists and their lengths.
        """
        if card.task != self.task:
            raise DatasetError(f"the model is for {card.task}, the dataset {self.name} is labelled for {self.task}")
        if card.classes != self.classes:
            raise DatasetError(
                f"the model has {len(card.classes)} classes ({_some(card.classes)}), the dataset {self.name} has "
                f"{len(self.classes)} ({_some(self.classes)}); take the data, or the classes, that the model was trained on"
            )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
