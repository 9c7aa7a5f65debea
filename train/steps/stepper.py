"""One optimizer step: forward and backward over one or several batches, clipping, and the step itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn, optim

from dlcv.runtime.card.card import ModelCard
from dlcv.train.preprocess import normalise
from dlcv.train.processes.distributed import ALONE, Processes
from dlcv.train.steps.losses import Loss, total_loss
from dlcv.train.steps.precision import MixedPrecision

Batch = tuple[Tensor, Tensor]


class NotFinite(Exception):
    """`what` (the loss, the gradient) is not a finite number; no step was made.

    Args:
        ranks: of the processes whose images it comes from.
    """

    def __init__(self, what: str, ranks: Sequence[int]) -> None:
        super().__init__(what)
        self.ranks = ranks


class Stepper:
    """Makes steps; of several batches the gradients are added, each batch's by its share of the whole.

    With plain or batch-independent layers a step over several batches is that of their union, up to rounding. Batch
    normalisation takes its statistics of each batch by itself. The same holds for the shares of a batch that several processes
    take: each counts by its share of what the mean over all divides by, which is not one over the number of processes where
    classes have weights or some labels do not count.

    Args:
        model: in training mode, on `device`.
        loss: see `losses.py`.
        optimizer: of the model's parameters.
        precision: see `precision.py`.
        clip_norm: the gradients' norm is at most this; 0 leaves them.
        card: mean and standard deviation that images are normalised with.
        processes: that make the step together.
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
        processes: Processes = ALONE,
    ) -> None:
        self._processes, self._parallel = processes, processes.parallel(model, device)
        self._model, self._loss, self._optimizer, self._precision = model, loss, optimizer, precision
        self._clip_norm, self._card, self._device = clip_norm or math.inf, card, device

    def step(self, batches: Sequence[Batch], learning_rate: float) -> float:
        """One step.

        Args:
            batches: images uint8 (n, crop, crop, 3) and labels int64 each; of several processes, this one's shares.
            learning_rate: of this step.

        Returns:
            The loss before the step, of all processes; 0 where the loss counts none of the labels, and no step is made.

        Raises:
            NotFinite: when the loss or, in another precision than float16, the gradient is not a number.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.zero_grad(set_to_none=True)
        batches = [(images, labels.to(self._device, non_blocking=True)) for images, labels in batches]
        own = [float(self._loss.normaliser(labels)) for _, labels in batches]
        totals = self._processes.sums(own)
        if sum(totals) == 0:
            return 0.0
        values = self._processes.each(self._backward_all(batches, own, totals))
        if not all(map(math.isfinite, values)):
            raise NotFinite("the loss", [rank for rank, value in enumerate(values) if not math.isfinite(value)])
        self._precision.unscale(self._optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._clip_norm)
        if self._precision.scaler is None and not math.isfinite(norm.item()):
            raise NotFinite("the gradient", range(len(values)))
        self._precision.step(self._optimizer)
        return sum(values)

    def _backward_all(self, batches: Sequence[Batch], own: Sequence[float], totals: Sequence[float]) -> float:
        """Adds the gradients of all batches, exchanged between processes with the last; returns this process's part of the loss.

        Args:
            own: what the mean over each batch divides by, here.
            totals: the same over all processes.
        """
        total, value = sum(totals), 0.0
        counted = [k for k, each in enumerate(totals) if each]
        for k in counted:
            last = k == counted[-1]
            with nullcontext() if last else self._processes.without_exchange(self._parallel):
                value += self._backward(*batches[k], own[k] / total)
        return value

    def _backward(self, images: Tensor, labels: Tensor, share: float) -> float:
        images = images.to(self._device, non_blocking=True)
        inputs = normalise(images, self._card.mean_rgb, self._card.std_rgb)
        outputs = self._precision.forward(self._parallel, inputs)
        # none of the labels here counts, but some of another process: the exchange needs a gradient from each
        loss = total_loss(self._loss, outputs, labels) if share else _nothing_of(outputs)
        loss = loss if share in (0, 1) else loss * share
        size = self._processes.place.size
        self._precision.backward(loss if size == 1 else loss * size)  # the exchange takes the mean
        return loss.item()


def _nothing_of(outputs: Tensor | tuple[Tensor, ...]) -> Tensor:
    """A loss of 0 whose gradients are 0."""
    tensors = outputs if isinstance(outputs, tuple) else (outputs,)
    return torch.stack([each.sum() * 0 for each in tensors]).sum()
