"""An exponential moving average of a model's weights, which validates and is kept as the result."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn


class AveragedModel:
    """A copy of a model whose weights follow it (Polyak and Juditsky 1992).

    After the step t (from 1) the average is d * average + (1 - d) * weights with d = min(decay, (1 + t) / (10 + t)), so
    that the drawn starting weights are soon forgotten (as TensorFlow's `ExponentialMovingAverage`). The running statistics of
    batch normalisation are averaged too; counters are copied.

    Args:
        model: what is averaged; it is left as it is.
        decay: above 0, below 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = deepcopy(model).eval().requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, steps: int) -> None:
        """Takes in the weights after a step.

        Args:
            model: with its weights of now.
            steps: done since the beginning of the run, at least 1.
        """
        decay = min(self._decay, (1 + steps) / (10 + steps))
        for mean, now in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(now, 1 - decay)
            else:
                mean.copy_(now)

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Goes back to averaged weights that were saved."""
        self.model.load_state_dict(weights)
