"""Several checkpoints as one network whose probabilities are the mean of theirs."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import CheckpointError
from dlcv.runtime.files import sha256_of
from dlcv.train.checkpoints.checkpoint import Checkpoint, load_checkpoint, masks_of, model_from_checkpoint
from dlcv.train.checkpoints.session import TorchSession, torch_device

ALIKE = ("model", "task", "classes", "input_size_hw", "mean_rgb", "std_rgb", "fit", "short_side", "interpolation", "uncounted")  # fmt: skip
"""What the cards of an ensemble's members must agree in: what goes in, how it is prepared, and what comes out."""


class EnsembleNetwork(nn.Module):
    """Networks whose probabilities are averaged, as a network like any other.

    It returns log(mean of the members' softmax), so that its softmax is the mean probability and its argmax the class of that.

    Args:
        members: each takes normalised float (N, 3, H, W) and returns logits float (N, C, ...), all of one shape.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, image: Tensor) -> Tensor:
        """Normalised float (N, 3, H, W) -> float (N, C, ...), at most 0."""
        logs = torch.stack([_log_softmax(member(image)) for member in self.members])  # (k, N, C, ...)
        largest = logs.amax(0)
        return largest + (logs - largest).exp().sum(0).log() - math.log(len(self.members))


def _log_softmax(logits: Tensor) -> Tensor:
    """Written out: an engine may take LogSoftmax for the logarithm of a softmax, which is minus infinity where that underflows."""
    shifted = logits - logits.amax(1, keepdim=True)
    return shifted - shifted.exp().sum(1, keepdim=True).log()


def load_members(paths: Sequence[Path], *, model: str | None = None) -> list[Checkpoint]:
    """The checkpoints of an ensemble.

    Args:
        paths: one or more checkpoints.
        model: the model that is expected; None takes any.

    Raises:
        CheckpointError: when one cannot be used, is named twice, or differs from the first in what `ALIKE` lists.
    """
    if not paths:
        raise CheckpointError("no checkpoint was named; name one with --checkpoint FILE")
    members = [load_checkpoint(path, model=model) for path in paths]
    for path, member in zip(paths, members, strict=True):
        _require_alike(paths[0], members[0].card, path, member.card)
    digests = [sha256_of(path) for path in paths]
    for place, digest in enumerate(digests):
        if digest in digests[:place]:
            first = paths[digests.index(digest)]
            what = f"{first} is named twice" if first == paths[place] else f"{first} and {paths[place]} are the same"
            raise CheckpointError(f"{what}; the members of an ensemble must be different checkpoints")
    return members


def ensemble_of(members: Sequence[Checkpoint], paths: Sequence[Path]) -> tuple[nn.Module, ModelCard]:
    """What `load_members` read from `paths`, as a network in evaluation mode on the CPU, and its card.

    Returns:
        A single checkpoint's own network and card; of more, an `EnsembleNetwork` and a card with `members` and, as
        `checkpoint_sha256`, a hash of the members' hashes; width and options are the first one's.
    """
    networks, card = [model_from_checkpoint(member) for member in members], members[0].card
    if len(networks) == 1:
        return networks[0], card
    return EnsembleNetwork(networks).eval(), card.changed(
        members=len(networks), checkpoint_sha256=sha256_of_members(paths)
    )


def sha256_of_members(paths: Sequence[Path]) -> str:
    """What says which checkpoints a graph was made from: the file's SHA-256; of several files, that of their sorted hashes."""
    digests = sorted(sha256_of(path) for path in paths)
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def open_checkpoints(paths: Sequence[Path], *, device: str = "auto", model: str | None = None) -> TorchSession:
    """Opens one or more checkpoints as one session; see `ensemble_of`.

    Args:
        paths: checkpoints.
        device: `auto`, `cpu`, `cuda` or any device that torch names.
        model: the model that is expected; None takes any.

    Raises:
        CheckpointError: as `load_members`.
        UsageError: when torch does not know the device, or sees no GPU.
        DatasetError: when what it says of the masks that it learned from is not valid.
    """
    members = load_members(paths, model=model)
    network, card = ensemble_of(members, paths)
    session = TorchSession(network, card, torch_device(device))
    session.masks = masks_of(members[0], paths[0])
    if card.members > 1:
        session.description += f", the mean of {card.members} checkpoints"
    return session


def _require_alike(first: Path, expected: ModelCard, path: Path, card: ModelCard) -> None:
    for name in ALIKE:
        if getattr(card, name) != getattr(expected, name):
            raise CheckpointError(
                f"{first} and {path} cannot be averaged: their {name} differs ({_short(getattr(expected, name))} and "
                f"{_short(getattr(card, name))}); name checkpoints of one kind"
            )


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
