"""Optimizers by name, and the learning rate that they take where none is given."""

from __future__ import annotations

from torch import nn, optim

from dlcv.train.settings.groups import OptimizerSettings

OPTIMIZERS = ("adamw", "sgd")
SGD_RATE = 0.01
"""Where none is given: of SGD with momentum, between what He et al. 2016 and Chen et al. 2017 train with."""


def make_optimizer(model: nn.Module, settings: OptimizerSettings) -> optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019), or SGD with momentum; its rate is set before each step.

    Raises:
        ValueError: for a name that is not in `OPTIMIZERS`.
    """
    if settings.optimizer == "adamw":
        return optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    if settings.optimizer == "sgd":
        return optim.SGD(
            model.parameters(),
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
    raise ValueError(f"unknown optimizer {settings.optimizer!r}; known: {', '.join(OPTIMIZERS)}")


def highest_rate(model: nn.Module, settings: OptimizerSettings, width: float) -> float:
    """The learning rate asked for, or the optimizer's default for such a model; see `default_learning_rate`."""
    if settings.learning_rate:
        return settings.learning_rate
    if settings.optimizer == "sgd":
        return SGD_RATE
    return default_learning_rate(width, batch_normalised=any(isinstance(m, nn.BatchNorm2d) for m in model.modules()))


def default_learning_rate(width: float, *, batch_normalised: bool) -> float:
    """Of AdamW: 2.5e-4 for a network as published, 1e-3 for one with batch normalisation, which bears more.

    More for narrower ones: Adam's best rate falls as 1 / width (Yang et al. 2022, "Tensor Programs V"); with batch
    normalisation up to 4e-3.
    """
    return min(4e-3, 1e-3 / width) if batch_normalised else 2.5e-4 / width
