"""The images of an export: what it is verified on, and what int8 is calibrated on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.export.gate import images_for
from dlcv.export.precision.calibration import CalibrationTiles, calibration_tiles
from dlcv.export.precision.low_precision import AUTO, PrecisionSettings
from dlcv.runtime.card import ModelCard
from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.datasets.loading import labelled_for
from dlcv.runtime.datasets.masks.description import description_from_dict
from dlcv.runtime.datasets.masks.pairs import find_pairs, validation_pairs
from dlcv.runtime.datasets.masks.tiles import SegmentationSet
from dlcv.runtime.errors import DatasetError, TileError
from dlcv.runtime.evaluation import NOUNS
from dlcv.runtime.fitting import fit_to_card
from dlcv.train.checkpoint import Checkpoint
from dlcv.train.kept import FOLDER as KEPT_FOLDER
from dlcv.train.probe import PROBE_COUNT, read_probe

VERIFY_IMAGES = {"segmentation": 32, "classification": PROBE_COUNT["classification"]}
"""How many images verification takes at most, evenly spaced; a low precision is compared with torch on more (`gate.images_for`)."""


def images_to_verify_on(
    data: Path | None, path: Path, checkpoint: Checkpoint, card: ModelCard, asked: PrecisionSettings, say: Callable[[str], None]
) -> LabelledSet[Any]:  # fmt: skip
    """Labelled images, evenly spaced, as many as the bound of a low precision needs: from a folder, else the run's probe.

    Args:
        data: the folder; None takes the probe.
        path: of the checkpoint.
        checkpoint: says what a dataset's masks mean.
        card: says task and classes.
        asked: precision and bound.
        say: takes lines for people.

    Raises:
        DatasetError: when there are none.
    """
    most = VERIFY_IMAGES[card.task]
    if asked.precision != "fp32":
        most = max(most, images_for(card.task, asked.max_drop))
    if data is None:
        run = path.parent.parent if path.parent.name == KEPT_FOLDER else path.parent
        labelled = read_probe(run / "probe", checkpoint.probe_sha256, card)
    elif card.task == "segmentation":  # what masks mean stands in the checkpoint, also where the dataset is one's own
        masks = description_from_dict(checkpoint.dataset, "of the checkpoint", source=str(path))
        labelled = SegmentationSet(validation_pairs(data, masks), masks)
    else:
        labelled = labelled_for(card, data, say=say, most=most)
    if data is not None and len(labelled) > most:
        say(f"{most:,} of {len(labelled):,} {NOUNS[card.task]}s of {data} are taken, evenly spaced")
    return labelled.evenly(most)


def images_to_calibrate_on(
    asked: PrecisionSettings, path: Path, checkpoint: Checkpoint, card: ModelCard, verified: LabelledSet[Any]
) -> CalibrationTiles | None:
    """What int8 is calibrated on; None for a precision that needs none.

    Args:
        asked: precision, folder and number.
        path, checkpoint, card: see `images_to_verify_on`.
        verified: what that gave.

    Raises:
        DatasetError: when there are none, or one cannot be read.
    """
    if asked.precision not in ("int8", AUTO):
        return None
    candidates: LabelledSet[Any] | None = None
    if asked.calibration_data is not None and card.task == "segmentation":  # a folder of pairs holds masks too
        masks = description_from_dict(checkpoint.dataset, "of the checkpoint", source=str(path))
        with suppress(DatasetError):
            candidates = SegmentationSet(find_pairs(asked.calibration_data, masks), masks)
    return calibration_tiles(asked.calibration_data, asked.calibration_tiles, card, verified, candidates)


def first_windows(labelled: LabelledSet[Any], card: ModelCard) -> list[NDArray[np.uint8]]:
    """The first window of each image, uint8 (H, W, 3), RGB, of the card's size.

    Raises:
        DatasetError: when an image cannot be read.
    """
    windows = []
    for example in labelled.examples:
        try:
            windows.append(fit_to_card(labelled.image(example), card).windows[0])
        except (DatasetError, TileError) as error:
            text = f"{example.name}: {error}" if isinstance(error, TileError) else str(error)
            raise DatasetError(f"{text}; verification needs {NOUNS[card.task]}s that can be read") from error
    return windows
