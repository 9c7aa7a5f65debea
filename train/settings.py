"""What a run was asked to do: plain values, stored with the run, the same names as the command's options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from dlcv.runtime.errors import UsageError

MAY_CHANGE_ON_RESUME = ("data", "epochs", "workers", "device")
"""Settings that a resumed run may be given anew; the others would make it another run."""


@dataclass(frozen=True)
class TrainSettings:
    """Settings of a run.

    Attributes:
        model: name in the registry.
        data: folder of labelled tiles, or `sample`.
        dataset: name or file of the dataset's description.
        width: factor on the model's channels.
        epochs: passes over the training tiles.
        batch: crops a step.
        crop: side of the random square crops, in pixels; a multiple of the model's divisor.
        learning_rate: of AdamW, at its highest; 0 takes `default_learning_rate`.
        weight_decay: of AdamW.
        loss: a key of `losses.LOSSES`.
        validation_share: share of the tiles kept for validation where the data has no split of its own.
        seed: of weights, order, crops and split.
        workers: processes that decode; 0 decodes in the training process.
        device: `auto`, `cpu`, `cuda`.
        init: file of starting weights; empty for fresh ones.
    """

    model: str = "fcn8s"
    data: str = "sample"
    dataset: str = "deepglobe"
    width: float = 1.0
    epochs: int = 40
    batch: int = 8
    crop: int = 256
    learning_rate: float = 0.0
    weight_decay: float = 1e-4
    loss: str = "cross-entropy"
    validation_share: float = 0.2
    seed: int = 0
    workers: int = 1
    device: str = "auto"
    init: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain values, to be stored."""
        return asdict(self)


def default_learning_rate(width: float) -> float:
    """2.5e-4 for a network as published, more for narrower ones: Adam's best rate falls as 1 / width (Yang et al. 2022,
    "Tensor Programs V").
    """
    return 2.5e-4 / width


def settings_on_resume(stored: Mapping[str, Any], given: Mapping[str, Any]) -> TrainSettings:
    """The stored settings of a run, with what the user gave anew.

    Args:
        stored: what `TrainSettings.to_dict` gave when the run began.
        given: the options that were typed now.

    Raises:
        UsageError: when an option was typed that would make it another run.
    """
    known = {f.name for f in fields(TrainSettings)}
    settings = TrainSettings(**{k: v for k, v in stored.items() if k in known})
    for name, value in given.items():
        if value != getattr(settings, name) and name not in MAY_CHANGE_ON_RESUME:
            option = "--" + name.replace("_", "-")
            raise UsageError(
                f"the run was begun with {option} {getattr(settings, name)}, not {value}; leave {option} out, or start another run with --output DIR"
            )
    return replace(settings, **{k: v for k, v in given.items() if k in MAY_CHANGE_ON_RESUME})
