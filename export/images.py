"""The images of an export: what it is verified on, and what int8 is calibrated on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.export.gate import images_for
from dlcv.export.precision.calibration import CalibrationTiles, calibration_tiles
from dlcv.export.precision.low_precision import AUTO, PrecisionSettings
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.datasets.loading import labelled_for, listed_in
from dlcv.runtime.datasets.masks.description import description_from_dict
from dlcv.runtime.datasets.masks.likeness import check_likeness
from dlcv.runtime.datasets.masks.pairs import all_count_note, find_pairs, has_validation, validation_pairs
from dlcv.runtime.datasets.masks.tiles import SegmentationSet
from dlcv.runtime.errors import DatasetError, TileError
from dlcv.runtime.fitting.fitting import fit_to_card
from dlcv.runtime.scoring.evaluation import NOUNS
from dlcv.train.checkpoints.checkpoint import Checkpoint
from dlcv.train.folder.kept import FOLDER as KEPT_FOLDER
from dlcv.train.folder.names import SPLIT_NAME
from dlcv.train.folder.probe import PROBE_COUNT, read_probe

VERIFY_IMAGES = {"segmentation": 32, "classification": PROBE_COUNT["classification"]}
"""How many images verification takes at most, evenly spaced; a low precision is compared with torch on more (`gate.images_for`)."""


def images_to_verify_on(
    data: Path | None, path: Path, checkpoint: Checkpoint, card: ModelCard, asked: PrecisionSettings,
    say: Callable[[str], None], split: Path | None = None,
) -> LabelledSet[Any]:  # fmt: skip
    """Labelled images, evenly spaced, as many as the bound of a low precision needs: from a folder, else the run's probe.

    Args:
        data: the folder; None takes the probe.
        path: of the checkpoint.
        checkpoint: says what a dataset's masks mean.
        card: says task and classes.
        asked: precision and bound.
        say: takes lines for people.
        split: a `split.csv` whose validation images alone are taken; None takes the run's own, where the data has all that it lists.

    Raises:
        DatasetError: when there are none, or the data lacks some that a given `split` lists.
    """
    most = VERIFY_IMAGES[card.task]
    if asked.precision != "fp32":
        most = max(most, images_for(card.task, asked.max_drop))
    run = path.parent.parent if path.parent.name == KEPT_FOLDER else path.parent
    if data is None:
        return read_probe(run / "probe", checkpoint.probe_sha256, card).evenly(most)
    given = _Given(data, path, checkpoint, card, most)
    labelled = given.listed(split, say) if split is not None else _by_own_split(given, run / SPLIT_NAME, say)
    if len(labelled) > most:
        say(f"{most:,} of {len(labelled):,} {NOUNS[card.task]}s of {data} are taken, evenly spaced")
    return labelled.evenly(most)


@dataclass(frozen=True)
class _Given:
    """What `--data` names, and what is known of it; see `images_to_verify_on`."""

    data: Path
    path: Path
    checkpoint: Checkpoint
    card: ModelCard
    most: int

    def labelled(self, say: Callable[[str], None], split: Path | None = None) -> LabelledSet[Any]:
        """The images, or those of them that `split` has for validation; where any image may count, a line says so."""
        if self.card.task != "segmentation":
            return labelled_for(self.card, self.data, split=split, say=say, most=self.most)
        # what masks mean stands in the checkpoint, also where the dataset is one's own
        masks = description_from_dict(self.checkpoint.dataset, "of the checkpoint", source=str(self.path))
        pairs = validation_pairs(self.data, masks)
        check_likeness(pairs, masks)
        labelled = SegmentationSet(pairs, masks)
        if split is not None:
            return listed_in(split, self.data, labelled)
        note = all_count_note(self.data, len(labelled), "tiles", self.most)
        if note and not has_validation(self.data, masks):
            say(note)
        return labelled

    def listed(self, split: Path, say: Callable[[str], None]) -> LabelledSet[Any]:
        """The images that `split` has for validation, which a line says."""
        labelled = self.labelled(say, split)
        say(
            f"{len(labelled):,} {NOUNS[self.card.task]}{'s' * (len(labelled) != 1)} of {self.data} count: what {split} lists for validation, which did not train"
        )
        return labelled


def _by_own_split(given: _Given, own: Path, say: Callable[[str], None]) -> LabelledSet[Any]:
    if not own.is_file():
        return given.labelled(say)
    lines: list[str] = []
    try:
        labelled = given.listed(own, lines.append)
    except DatasetError as error:  # data that the run was not trained on, or data that is wrong by itself
        labelled = given.labelled(say)
        say(f"the run's own split is not used: {error}")
        return labelled
    for line in lines:
        say(line)
    return labelled


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
