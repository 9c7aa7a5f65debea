"""One optimizer step: forward and backward over one or several batches, clipping, and the step itself."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn, optim

from dlcv.runtime.card import ModelCard
from dlcv.train.losses import Loss, total_loss
from dlcv.train.precision import MixedPrecision
from dlcv.train.preprocess import normalise

Batch = tuple[Tensor, Tensor]


class NotFinite(Exception):
    """`what` (the loss, the gradient) is not a finite number; no step was made."""


class Stepper:
    """Makes steps; of several batches the gradients are added, each batch's by its share of the whole.

    With plain or batch-independent layers a step over several batches is that of their union, up to rounding. Batch
    normalisation takes its statistics of each batch by itself.

    Args:
        model: in training mode, on `device`.
        loss: see `losses.py`.
        optimizer: of the model's parameters.
        precision: see `precision.py`.
        clip_norm: the gradients' norm is at most this; 0 leaves them.
        card: mean and standard deviation that images are normalised with.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        optimizer: optim.Optimizer,
        precision: MixedPrecision,
        *,
        clip_norm: float,
        card: ModelCard,
        device: torch.device,
    ) -> None:
        self._model, self._loss, self._optimizer, self._precision = model, loss, optimizer, precision
        self._clip_norm, self._card, self._device = clip_norm or math.inf, card, device

    def step(self, batches: Sequence[Batch], learning_rate: float) -> float:
        """One step.

        Args:
            batches: images uint8 (n, crop, crop, 3) and labels int64 each.
            learning_rate: of this step.

        Returns:
            The loss before the step; 0 where the loss counts none of the labels, and no step is made.

        Raises:
            NotFinite: when the loss or, in another precision than float16, the gradient is not a number.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.zero_grad(set_to_none=True)
        weights = [float(self._loss.normaliser(labels.to(self._device))) for _, labels in batches]
        total, value = sum(weights), 0.0
        if total == 0:
            return 0.0
        for (images, labels), weight in zip(batches, weights, strict=True):
            if weight:
                value += self._backward(images, labels, weight / total)
        if not math.isfinite(value):
            raise NotFinite("the loss")
        self._precision.unscale(self._optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._clip_norm)
        if self._precision.scaler is None and not math.isfinite(norm.item()):
            raise NotFinite("the gradient")
        self._precision.step(self._optimizer)
        return value

    def _backward(self, images: Tensor, labels: Tensor, share: float) -> float:
        images, labels = images.to(self._device, non_blocking=True), labels.to(self._device, non_blocking=True)
        outputs = self._precision.forward(self._model, normalise(images, self._card.mean_rgb, self._card.std_rgb))
        loss = total_loss(self._loss, outputs, labels)
        loss = loss if share == 1 else loss * share
        self._precision.backward(loss)
        return loss.item()
