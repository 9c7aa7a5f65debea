"""The probe: a few labelled validation images kept beside a run, so that export and parity have real images to verify on when
the data is elsewhere. Their hash stands in the checkpoint.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.datasets.classes.images import ClassificationSet
from dlcv.runtime.datasets.classes.names import CLASSES_NAME
from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.datasets.loading import LABELS_NAME, labelled_for, write_labelled_csv
from dlcv.runtime.datasets.masks.tiles import DESCRIPTION_NAME, SegmentationSet
from dlcv.runtime.errors import CheckpointError, OutputError
from dlcv.runtime.files import PARTIAL_SUFFIX, make_folder, partial_name, sha256_of, write_bytes

PROBE_COUNT = {"segmentation": 16, "classification": 48}
"""How many images are kept at most: tiles with many pixels, or small images of which each is one answer."""


def write_probe(folder: Path, validation: LabelledSet[Any]) -> str:
    """Copies images and labels, evenly spaced over `validation`, and what labels mean into `folder`, in the place of an older probe.

    The folder has its name once it is whole: half of a probe, left by a process that was killed, could not be told from files of
    somebody else, and the next run would refuse it.

    Returns:
        The probe's hash.

    Raises:
        OutputError: when the folder holds something else, or cannot be written.
    """
    if folder.is_dir() and any(folder.iterdir()) and not _is_probe(folder):
        raise OutputError(f"{folder} holds files that are not a run's probe; choose another folder with --output")
    _remove_left(folder)
    staging = partial_name(folder)
    try:
        make_folder(staging)
        few = validation.evenly(PROBE_COUNT[validation.task])
        if isinstance(few, SegmentationSet):
            _write_pairs(staging, few)
        elif isinstance(few, ClassificationSet):
            write_labelled_csv(staging, few)
        if folder.is_dir():  # away in one step, since half of it could not be told either
            os.replace(folder, folder.with_name(f".{folder.name}.older{PARTIAL_SUFFIX}"))
        os.replace(staging, folder)
    finally:
        _remove_left(folder)
    return probe_sha256(folder)


def _remove_left(folder: Path) -> None:
    """Takes away what this process, or one that was killed, has left beside `folder`."""
    for left in folder.parent.glob(f".{glob.escape(folder.name)}.*{PARTIAL_SUFFIX}"):
        shutil.rmtree(left, ignore_errors=True)


def _is_probe(folder: Path) -> bool:
    """Whether a folder is as a run leaves it; labels.csv alone may stand beside anyone's images."""
    if (folder / DESCRIPTION_NAME).is_file():
        return True
    others = {path.name for path in folder.iterdir()} - {LABELS_NAME, CLASSES_NAME}
    return (folder / LABELS_NAME).is_file() and all(re.fullmatch(r"[0-9]{4}(\.\w+)?", name) for name in others)


def _write_pairs(folder: Path, tiles: SegmentationSet) -> None:
    masks = tiles.masks.side_by_side()
    for number, pair in enumerate(tiles.examples):
        stem = pair.name.replace("/", "_")
        if (folder / (stem + masks.image_suffix)).exists():
            stem += f"_{number}"  # a/b and a_b
        shutil.copyfile(pair.image, folder / (stem + masks.image_suffix))
        shutil.copyfile(pair.mask, folder / (stem + masks.mask_suffix))
    write_bytes(folder / DESCRIPTION_NAME, json.dumps(masks.to_dict(), indent=1).encode())


def probe_sha256(folder: Path) -> str:
    """A hash over the names and contents of all files in the probe's folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(f"{path.name}\0{sha256_of(path)}\n".encode())
    return digest.hexdigest()


def read_probe(folder: Path, expected_sha256: str, card: ModelCard) -> LabelledSet[Any]:
    """The probe's images and labels.

    Args:
        folder: of the probe.
        expected_sha256: as the checkpoint holds it.
        card: of the checkpoint.

    Raises:
        CheckpointError: when the folder is missing, or is not the one that the checkpoint was saved with.
    """
    if not folder.is_dir():
        raise CheckpointError(f"there are no probe tiles at {folder} to verify on; pass labelled tiles with --data DIR")
    if expected_sha256 and probe_sha256(folder) != expected_sha256:
        raise CheckpointError(
            f"the probe tiles at {folder} are not those of the checkpoint (their hash differs); pass labelled tiles with --data DIR"
        )
    return labelled_for(card, folder)
