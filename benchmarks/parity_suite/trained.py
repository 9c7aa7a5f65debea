"""Narrow models that have learned something: an agreement of models that say one class everywhere would prove nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlcv.runtime.card import ModelCard
from dlcv.runtime.datasets.labelled import LabelledSet

EPOCHS = {"segmentation": 30, "classification": 15}
SIDE = 64
COUNTS = {"segmentation": (32, 8), "classification": (96, 120)}
"""Tiles for training and for validation; a classifier sees an image as one answer, so it needs more of them."""


@dataclass(frozen=True)
class Trained:
    """A network in evaluation mode with its card, and labelled images that it was not trained on.

    Attributes:
        network: a torch module.
        card: with the head `logits`.
        labelled: the validation images.
        calibration: what int8 is calibrated on: labelled images that it was trained on.
    """

    network: Any
    card: ModelCard
    labelled: LabelledSet[Any]
    calibration: LabelledSet[Any]


def sample(folder: Path, task: str) -> Path:
    """The generated sample of a task, in `folder`; made on first use."""
    from dlcv.train.data.sample import write_sample

    data = folder / f"sample-{task}"
    if not data.exists():
        tiles, validation = COUNTS[task]
        write_sample(data, task=task, tiles=tiles, validation=validation, size=SIDE)
    return data


def train(name: str, folder: Path, width: float) -> Trained:
    """Trains a model with fresh weights on the sample.

    Args:
        name: in the registry.
        folder: for the sample and the run.
        width: of the model.

    Raises:
        UsageError: for an unknown name.
    """
    from dlcv.train import run
    from dlcv.train.checkpoint import load_checkpoint, model_from_checkpoint
    from dlcv.train.models.registry import model_entry
    from dlcv.train.plan import data_of
    from dlcv.train.settings import TrainSettings

    task = model_entry(name).task
    settings = TrainSettings(
        model=name, data=str(sample(folder, task)), width=width, batch=4, crop=SIDE, workers=0, device="cpu",
        epochs=EPOCHS[task],
    )  # fmt: skip
    run.start(settings, folder / name, overwrite=True, say=lambda _: None).train()
    best = load_checkpoint(folder / name / "best.pt")
    training, validation = data_of(settings, lambda _: None)
    return Trained(model_from_checkpoint(best).eval(), best.card.changed(head="logits"), validation, training)
