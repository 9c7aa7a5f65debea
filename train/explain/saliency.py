"""Saliency: Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional Networks", ICLR Workshop 2014; smoothed as in
Smilkov et al., "SmoothGrad: removing noise by adding noise", 2017.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dlcv.train.explain.subject import Subject, View
from dlcv.train.explain.watching import quiet, seeded

NOISE = 0.15
"""Of SmoothGrad: the noise's standard deviation as a share of the image's range, as the paper advises (10 % to 20 %)."""


@dataclass(frozen=True)
class Saliency:
    """How much each pixel moves the score of a class.

    Attributes:
        view: the image.
        target: the class whose score it is: the one that the model gives the image, or most of its counted pixels.
        region: bool (H, W): segmentation: the pixels over which the class's logits are summed, those that are predicted so;
            all true for classification.
        map: float32 (H, W): max over the channels of |d score / d pixel|, in logits a level of 8-bit brightness.
    """

    view: View
    target: int
    region: NDArray[np.bool_]
    map: NDArray[np.float32]


def saliency(subject: Subject, view: View, *, smooth: int = 0, seed: int = 0) -> Saliency:
    """The gradient of a class's score (its logit, before the softmax) with respect to the image's own 8-bit levels.

    Args:
        smooth: noisy copies whose gradients are averaged; 0 takes the gradient of the image itself.
        seed: of the noise.
    """
    pixels = subject.pixels([view.image])  # (1, H, W, 3)
    with quiet(subject.model):
        with torch.no_grad():
            logits = subject.model(subject.normalised(pixels))
        target = predicted_class(logits, subject.card.uncounted)
        region = logits[0].argmax(0) == target if logits.ndim == 4 else None
        if not smooth:
            gradient = gradient_of(subject, pixels, target, region)
        else:
            deviation = NOISE * float(pixels.max() - pixels.min())
            drawn, gradient = seeded(seed), torch.zeros_like(pixels)
            for _ in range(smooth):
                noise = torch.randn(pixels.shape, generator=drawn).to(pixels.device)
                gradient += gradient_of(subject, pixels + deviation * noise, target, region) / smooth
    size_hw = view.image.shape[:2]
    where = np.ones(size_hw, np.bool_) if region is None else region.cpu().numpy()
    return Saliency(view, target, where, gradient[0].abs().amax(-1).cpu().numpy())


def gradient_of(subject: Subject, pixels: Tensor, target: int, region: Tensor | None) -> Tensor:
    """d score / d pixel, float (1, H, W, 3), for pixels of that shape in 8-bit levels.

    Args:
        region: bool (H, W), where the logits are summed; None for classification.
    """
    pixels = pixels.detach().requires_grad_()
    logits = subject.model(subject.normalised(pixels))[0, target]
    score = logits if region is None else logits[region].sum()
    return torch.autograd.grad(score, pixels)[0]


def predicted_class(logits: Tensor, uncounted: tuple[int, ...]) -> int:
    """Of float (1, classes) the highest; of float (1, classes, H, W) the one that most pixels are given, counted ones first."""
    if logits.ndim == 2:
        return int(logits[0].argmax())
    pixels = torch.bincount(logits[0].argmax(0).flatten(), minlength=logits.shape[1])
    counted = pixels.clone()
    counted[list(uncounted)] = 0
    return int((counted if counted.any() else pixels).argmax())
