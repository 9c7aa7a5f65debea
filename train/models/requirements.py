"""What a network must give, asked of those that are the user's own by running them once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dlcv.runtime.errors import UsageError, reason_of
from dlcv.train.models.registry import model_entry


def require_logits(model: nn.Module, name: str, classes: int, side: int) -> None:
    """Runs a network on two images, as in training and as in evaluation.

    Args:
        model: on the CPU; left in training mode.
        name: in the registry.
        classes: how many it tells apart.
        side: of the images, in pixels.

    Raises:
        UsageError: when it fails, has no parameters, or does not give logits: float (2, classes, side, side) for segmentation, (2, classes) for
            classification; in training a pair of them may be given, the second auxiliary.
    """
    if next(model.parameters(), None) is None:
        raise UsageError(f"{name} has no parameters: there is nothing to train")
    wanted = (2, classes, side, side) if model_entry(name).task == "segmentation" else (2, classes)
    for training in (False, True):
        try:
            with torch.no_grad():
                given = model.train(training)(torch.zeros(2, 3, side, side))
        except Exception as error:
            doing = "trained" if training else "run"
            raise UsageError(
                f"{name} cannot be {doing} on images of {side} x {side}: {type(error).__name__}: {reason_of(error)[:300]}"
            ) from error
        every = given if training and isinstance(given, tuple) else (given,)
        if wrong := [_form(each) for each in every if not _is_form(each, wanted)]:
            raise UsageError(
                f"{name} gives {wrong[0]} for 2 images of {side} x {side}, expected logits: a float tensor {wanted}"
            )


def _is_form(given: Any, wanted: tuple[int, ...]) -> bool:
    return isinstance(given, Tensor) and given.is_floating_point() and tuple(given.shape) == wanted


def _form(given: Any) -> str:
    if isinstance(given, Tensor):
        return f"a tensor of {str(given.dtype).removeprefix('torch.')} {tuple(given.shape)}"
    return f"a {type(given).__name__}"
