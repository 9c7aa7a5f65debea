"""Checkpoints: a torch archive that carries the model card as `dlcv.json`, read with `weights_only=True`.

The card stands beside the weights inside the zip archive, so that it is read without unpickling anything.
"""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dlcv.runtime.archive_limits import member_sizes
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.card.reader import CHECKPOINT_MEMBER, kind_of, read_card
from dlcv.runtime.datasets.masks.description import DatasetDescription, description_from_dict
from dlcv.runtime.errors import CardError, CheckpointError, EngineError, reason_of
from dlcv.runtime.files import write_bytes
from dlcv.train.models import create_model


@dataclass(frozen=True)
class Checkpoint:
    """A model's weights and what is needed to go on, to export, and to verify.

    Attributes:
        card: the model card, `head` being `none`.
        weights: the model's state dict.
        dataset: the description of its data, as JSON values (see `runtime.datasets.description`).
        probe_sha256: of the probe tiles beside the run (see `probe.py`); empty where there are none.
        scores: mean IoU and the like on validation, at this checkpoint.
        training: optimizer, position and settings of the run; empty in a checkpoint that only holds a result.
    """

    card: ModelCard
    weights: Mapping[str, Tensor]
    dataset: Mapping[str, Any]
    probe_sha256: str = ""
    scores: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)


def masks_of(checkpoint: Checkpoint, path: Path) -> DatasetDescription | None:
    """What the masks meant that it learned from; None for classification, and where it does not say.

    Args:
        checkpoint: the checkpoint.
        path: of its file, for the error's sentence.

    Raises:
        DatasetError: when what it says is not valid.
    """
    if checkpoint.card.task != "segmentation" or not checkpoint.dataset:
        return None
    return description_from_dict(checkpoint.dataset, "of the checkpoint", source=str(path))


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint, whole or not at all.

    Raises:
        OutputError: when it cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(
        {
            "weights": dict(checkpoint.weights),
            "dataset": dict(checkpoint.dataset),
            "probe_sha256": checkpoint.probe_sha256,
            "scores": dict(checkpoint.scores),
            "training": dict(checkpoint.training),
        },
        buffer,
    )
    with zipfile.ZipFile(buffer, "a") as archive:
        folder = archive.namelist()[0].split("/")[0]  # torch reads an archive only if all members are in its folder
        archive.writestr(zipfile.ZipInfo(f"{folder}/{CHECKPOINT_MEMBER}"), checkpoint.card.to_json())
    write_bytes(path, buffer.getbuffer())


def load_checkpoint(path: Path, *, model: str | None = None) -> Checkpoint:
    """Reads a checkpoint onto the CPU; nothing in it can run code.

    Args:
        path: what `save_checkpoint` wrote.
        model: the model that is expected; None takes any.

    Raises:
        CheckpointError: when it is missing, damaged, no checkpoint of ours, or of another model.
    """
    card = checkpoint_card(path, model=model)
    _check_bytes(path)
    content = load_archive(path, "train it again")
    try:
        return Checkpoint(
            card=card, **{key: content[key] for key in ("weights", "dataset", "probe_sha256", "scores", "training")}
        )
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} is not a checkpoint of dlcv-train, {error} is missing; train it again"
        ) from error


def _check_bytes(path: Path) -> None:
    """Compares each member with its checksum, which torch does not: a changed weight would go unnoticed."""
    try:
        with zipfile.ZipFile(path) as archive:
            member_sizes(archive, path.stat().st_size)
            bad = archive.testzip()
    except Exception as error:  # as in `load_archive`
        raise CheckpointError(f"{path} is damaged ({error}); train it again") from error
    if bad is not None:
        raise CheckpointError(f"{path} is damaged (checksum of {bad}); train it again")


def load_archive(path: Path, advice: str) -> Any:
    """What `torch.save` put into a file, onto the CPU; refuses everything but tensors and plain values.

    Args:
        path: the file.
        advice: the end of the error's sentence.

    Raises:
        CheckpointError: when it is damaged or holds more than that.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's hints about a file that is refused anyway
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # torch's own text advises to load it with weights_only=False
        raise CheckpointError(f"{path} is damaged or holds more than weights, nothing was run; {advice}") from error
    except MemoryError as error:
        raise CheckpointError(f"{path} asks for more memory than there is; {advice}") from error
    except Exception as error:  # damaged bytes fail in many ways: zip, pickle and storages each have their own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else reason_of(error)
        raise CheckpointError(f"{path} is damaged ({reason}); {advice}") from error


def resumable(folder: Path, model: str) -> Checkpoint:
    """The `last.pt` of a run.

    Raises:
        CheckpointError: when there is none, or it is of another model.
    """
    path = folder / "last.pt"
    if not path.exists():
        raise CheckpointError(f"there is no run to go on with: {path} is missing; start one without --resume")
    return load_checkpoint(path, model=model)


def checkpoint_card(path: Path, *, model: str | None = None) -> ModelCard:
    """The card of a checkpoint, without loading its weights; see `load_checkpoint`."""
    if not path.exists():
        name = model or "fcn8s"
        raise CheckpointError(
            f"there is no checkpoint {path}; train one with: dlcv-train --model {name} --data DIR, or name one with --checkpoint FILE"
        )
    try:
        if kind_of(path) != "checkpoint":
            raise CheckpointError(f"{path} is not a checkpoint of dlcv-train; expected a best.pt or last.pt of a run")
        card = read_card(path)
    except (EngineError, CardError) as error:
        raise CheckpointError(f"{path} cannot be used as a checkpoint: {error}") from error
    if model is not None and card.model != model:
        raise CheckpointError(
            f"{path} is a checkpoint of {card.model}, not of {model}; pass --model {card.model}, or another --checkpoint"
        )
    return card


def model_from_checkpoint(checkpoint: Checkpoint) -> nn.Module:
    """The model with the checkpoint's weights, in evaluation mode, on the CPU.

    Raises:
        CheckpointError: when the weights do not fit the model that the card names.
    """
    card = checkpoint.card
    model = create_model(card.model, classes=len(card.classes), width=card.width, options=card.options)
    try:
        model.load_state_dict(checkpoint.weights)
    except (RuntimeError, TypeError) as error:
        lines = str(error).split("\n\t")
        raise CheckpointError(
            f"the weights do not fit {card.model} at width {card.width}: {lines[-1]}; train it again"
        ) from error
    return model.eval()
