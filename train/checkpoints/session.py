"""A checkpoint as a session: the torch reference that exported engines are held against.

It normalises with training's own `normalise`, not with the code that goes into exported graphs, so that a mistake in the one
shows against the other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import UsageError
from dlcv.runtime.sessions.base import Session
from dlcv.train.checkpoints.checkpoint import load_checkpoint, model_from_checkpoint
from dlcv.train.preprocess import normalise


class TorchSession(Session):
    """A model in torch behind the contract of a session; returns `logits`, and `mask` (segmentation) or `probs`.

    Args:
        model: takes normalised float (N, 3, H, W), returns logits (N, C, H, W) or (N, C); put into evaluation mode.
        card: its card.
        device: where it runs.
    """

    def __init__(self, model: nn.Module, card: ModelCard, device: torch.device) -> None:
        self.card = card
        self._torch_device = device
        self._model = model.to(device).eval()
        self.device = device.type
        self.description = f"torch {torch.__version__} on {device}"

    def _run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        with torch.inference_mode():
            logits = self.logits(torch.from_numpy(images).to(self._torch_device))
            outputs = {"logits": logits.float().cpu().numpy()}
            if self.card.task == "segmentation":
                return outputs | {"mask": logits.argmax(1).to(torch.uint8).cpu().numpy()}
            return outputs | {"probs": logits.float().softmax(1).cpu().numpy()}

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 (N, H, W, 3), RGB -> float (N, C, H, W) or (N, C), on the session's device."""
        result: torch.Tensor = self._model(normalise(images, self.card.mean_rgb, self.card.std_rgb))
        return result


def open_checkpoint(path: Path, *, device: str = "auto", model: str | None = None) -> TorchSession:
    """Opens a checkpoint as a session.

    Args:
        path: a `best.pt` or `last.pt`.
        device: `auto`, `cpu`, `cuda` or any device that torch names.
        model: the model that is expected; None takes any.

    Raises:
        CheckpointError: when it cannot be used.
    """
    checkpoint = load_checkpoint(path, model=model)
    return TorchSession(model_from_checkpoint(checkpoint), checkpoint.card, torch_device(device))


def torch_device(name: str) -> torch.device:
    """`auto` is CUDA where torch sees a GPU, else the CPU.

    Raises:
        UsageError: when torch does not know the device, or sees no GPU.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"unknown device {name!r}; expected auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"torch sees no GPU for the device {name}; use --device cpu")
    return device
