"""Every model by name. A new model is one file and one line here.

The table names modules without importing them, so that a command can list the models without loading torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from dlcv.runtime.errors import UsageError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ModelEntry:
    """Where a model is and what it is for.

    Attributes:
        home: `module:class`; the class takes `classes` and `width`.
        task: `segmentation` or `classification`.
        size_divisor: height and width of an image must be multiples of it.
        summary: a line for lists.
    """

    home: str
    task: str
    size_divisor: int
    summary: str


MODELS = {
    "fcn8s": ModelEntry("dlcv.train.models.fcn:Fcn8s", "segmentation", 32, "VGG16-FCN8s, 2x2 head"),
    "fcn32s": ModelEntry("dlcv.train.models.fcn:Fcn32s", "segmentation", 32, "VGG16-FCN32s, 2x2 head"),
}


def list_models() -> list[str]:
    """The names that `create_model` knows, in order."""
    return sorted(MODELS)


def model_entry(name: str) -> ModelEntry:
    """The entry of a model.

    Raises:
        UsageError: for an unknown name; lists the known ones.
    """
    if name not in MODELS:
        raise UsageError(f"unknown model {name!r}; known models: {', '.join(list_models())}")
    return MODELS[name]


def create_model(name: str, classes: int = 7, width: float = 1.0) -> nn.Module:
    """Builds a model with fresh weights.

    Args:
        name: one of `list_models()`.
        classes: how many classes it tells apart, 1..256.
        width: factor on the channels of the published network, above 0; 1.0 gives the network as published.

    Returns:
        A module that takes normalised float (N, 3, H, W), RGB, and returns logits float (N, classes, H, W).

    Raises:
        UsageError: for an unknown name, or numbers out of range.
    """
    entry = model_entry(name)
    if not 1 <= classes <= 256:
        raise UsageError(f"classes is {classes}, expected 1 to 256")
    if not 0 < width <= 4:
        raise UsageError(f"width is {width}, expected above 0 and at most 4; 1.0 is the published network")
    module, _, attribute = entry.home.partition(":")
    model: nn.Module = getattr(import_module(module), attribute)(classes=classes, width=width)
    return model
