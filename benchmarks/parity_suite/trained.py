"""Models that have learned something, narrow ones or those of runs: where one class is said everywhere, agreement proves nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.datasets.labelled import LabelledSet

EPOCHS = {"segmentation": 30, "classification": 15}
LONGER = (1, 3)
"""Times so many epochs, until it has learned something: `fcn32s-fc1x1` had mean IoU 0.056 after 30, below the majority predictor's 0.059, and
0.177 after 90."""
LEARNED = 1.2
"""Of the majority predictor's score."""
SIDE = 64
COUNTS = {"segmentation": (32, 8), "classification": (96, 120)}
"""Tiles for training and for validation; a classifier sees an image as one answer, so it needs more of them."""


CALIBRATION = 64
"""Images of a run's training that int8 is calibrated on."""


@dataclass(frozen=True)
class Trained:
    """A network in evaluation mode with its card, and labelled images that it was not trained on.

    Attributes:
        network: a torch module.
        card: with the head `logits`.
        labelled: the validation images.
        calibration: what int8 is calibrated on: labelled images that it was trained on.
        name: of the run; empty: the model's stands.
    """

    network: Any
    card: ModelCard
    labelled: LabelledSet[Any]
    calibration: LabelledSet[Any]
    name: str = ""

    @property
    def called(self) -> str:
        """In the matrix."""
        return self.name or self.card.model


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
    from dlcv.train.checkpoints.checkpoint import load_checkpoint, model_from_checkpoint
    from dlcv.train.models.registry import model_entry
    from dlcv.train.plan import data_of
    from dlcv.train.settings.settings import TrainSettings

    task = model_entry(name).task
    for longer in LONGER:
        settings = TrainSettings(
            model=name, data=str(sample(folder, task)), width=width, batch=4, crop=SIDE, workers=0, device="cpu",
            epochs=longer * EPOCHS[task],
        )  # fmt: skip
        scores = run.start(settings, folder / name, overwrite=True, say=lambda _: None).train()
        if scores is not None and scores.headline > LEARNED * scores.majority:
            break
    best = load_checkpoint(folder / name / "best.pt")
    data = data_of(settings, lambda _: None)
    return Trained(model_from_checkpoint(best).eval(), best.card.changed(head="logits"), data.validation, data.training)


def from_run(run: Path, data: Path, images: int) -> Trained:
    """The best weights of a run, and images that it was not trained on.

    Args:
        run: the folder that dlcv-train wrote; its `split.csv` says which images were for validation.
        data: what it was trained on.
        images: of these at most so many, evenly spaced.

    Raises:
        DatasetError, CheckpointError, UsageError: when either cannot be used.
    """
    from dlcv.runtime.datasets.loading import labelled_for
    from dlcv.train.checkpoints.checkpoint import load_checkpoint, model_from_checkpoint
    from dlcv.train.folder.names import SPLIT_NAME

    best = load_checkpoint(run / "best.pt")
    labelled = labelled_for(best.card, data, split=run / SPLIT_NAME)
    held_out = {example.name for example in labelled.examples}
    training = _to_train_on(best.card, data)
    training = training.with_examples([one for one in training.examples if one.name not in held_out])
    card = best.card.changed(head="logits")
    network = model_from_checkpoint(best).eval()
    return Trained(network, card, labelled.evenly(images), training.evenly(CALIBRATION), run.absolute().name)


def _to_train_on(card: ModelCard, data: Path) -> LabelledSet[Any]:
    """What the data has for training; where it has no split of its own, most of it."""
    from dlcv.runtime.datasets.loading import training_split
    from dlcv.runtime.datasets.masks.pairs import load_split
    from dlcv.runtime.datasets.masks.tiles import SegmentationSet, find_description

    share, seed = 0.2, 0
    if card.task == "segmentation":
        masks = find_description(None, data, card)
        return SegmentationSet(load_split(data, masks, validation_share=share, seed=seed)[0], masks)
    return training_split(card.task, data, dataset="", only=card.classes, validation_share=share, seed=seed)[0]
