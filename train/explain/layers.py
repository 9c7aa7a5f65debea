"""The layers of a model by name: those whose filters can be looked into, and the one that decides.

Which module runs when is seen by running the model once, so that nothing here knows an architecture but `CLASSIFIERS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from dlcv.runtime.errors import UsageError
from dlcv.train.explain.watching import hooked, quiet

CLASSIFIERS = {"fcn8s": "score"}
"""Where the layer that decides is not the last convolution or linear layer that runs: fcn8s scores pool4 and pool3 after it."""

LOOKED_INTO = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer.

    Attributes:
        name: as in the model's `named_modules`.
        channels: filters, or outputs of a linear layer.
        read_at: the module whose output its activation is: itself, or the batch normalisation that follows it at once. Before
            the ReLU, so that a filter that is silent still has a gradient.
        kind: `Conv2d`, `ConvTranspose2d` or `Linear`.
    """

    name: str
    channels: int
    read_at: str
    kind: str


def layers_of(model: nn.Module, size_hw: tuple[int, int]) -> list[Layer]:
    """The convolutions and linear layers that run in evaluation mode, in the order in which they run.

    Args:
        model: takes float (N, 3, H, W).
        size_hw: height and width of an image that the model takes, in pixels.
    """
    found: list[Layer] = []
    last: list[Tensor] = []

    def ran(name: str, module: nn.Module, inputs: Sequence[Any], output: Any) -> None:
        if isinstance(module, LOOKED_INTO):
            found.append(Layer(name, int(output.shape[1]), name, type(module).__name__))
            last[:] = [output]
        elif isinstance(module, NORMALISATIONS) and last and inputs[0] is last[0]:
            found[-1] = replace(found[-1], read_at=name)

    leaves = [(name, ran) for name, module in model.named_modules() if isinstance(module, LOOKED_INTO + NORMALISATIONS)]
    device = next(model.parameters()).device
    with quiet(model), hooked(model, leaves), torch.no_grad():
        model(torch.zeros(1, 3, *size_hw, device=device))
    return found


def classifier_of(model_name: str, layers: Sequence[Layer]) -> Layer:
    """The layer that turns features into scores of the classes; what goes into it are the penultimate features."""
    name = CLASSIFIERS.get(model_name)
    if name is not None:
        return next(layer for layer in layers if layer.name == name)
    return [layer for layer in layers if layer.kind != "ConvTranspose2d"][-1]


def default_layers(model_name: str, layers: Sequence[Layer]) -> list[Layer]:
    """The first convolution, the middle one and the last one before the classifier; fewer where these are the same."""
    classifier = classifier_of(model_name, layers)
    before = [layer for layer in layers[: layers.index(classifier)] if layer.kind == "Conv2d"]
    if not before:
        return [classifier]
    return list(dict.fromkeys((before[0], before[(len(before) - 1) // 2], before[-1])))


def chosen_layers(model_name: str, layers: Sequence[Layer], names: Sequence[str]) -> list[Layer]:
    """The layers of these names, or the default ones for none.

    Raises:
        UsageError: for a name that is not among them; lists those that are.
    """
    if not names:
        return default_layers(model_name, layers)
    known = {layer.name: layer for layer in layers}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(
            f"{model_name} has no convolution or linear layer {', '.join(map(repr, unknown))}; it has {', '.join(known)}"
        )
    return [known[name] for name in dict.fromkeys(names)]
