"""The probe: a few labelled validation tiles kept beside a run, so that export and parity have real tiles to verify on when
the data is elsewhere. Their hash stands in the checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from dlcv.runtime.datasets.description import DatasetDescription, load_description
from dlcv.runtime.datasets.pairs import Pair, find_pairs
from dlcv.runtime.errors import CheckpointError, OutputError
from dlcv.runtime.files import make_folder, sha256_of, write_bytes

PROBE_TILES = 16
DESCRIPTION_NAME = "dataset.json"


def write_probe(folder: Path, pairs: Sequence[Pair], description: DatasetDescription) -> str:
    """Copies tiles and labels, evenly spaced over `pairs`, and the dataset's description into `folder`, emptied first.

    Returns:
        The probe's hash.

    Raises:
        OutputError: when the folder holds something else, or cannot be written.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / DESCRIPTION_NAME).is_file():
        raise OutputError(f"{folder} holds files that are not a run's probe; choose another folder with --output")
    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder)
    count = min(PROBE_TILES, len(pairs))
    for k in range(count):
        pair = pairs[k * len(pairs) // count]
        stem = pair.name.replace("/", "_")
        if (folder / (stem + description.image_suffix)).exists():
            stem += f"_{k}"  # a/b and a_b
        shutil.copyfile(pair.image, folder / (stem + description.image_suffix))
        shutil.copyfile(pair.mask, folder / (stem + description.mask_suffix))
    write_bytes(folder / DESCRIPTION_NAME, json.dumps(description.to_dict(), indent=1).encode())
    return probe_sha256(folder)


def probe_sha256(folder: Path) -> str:
    """A hash over the names and contents of all files in the probe's folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(f"{path.name}\0{sha256_of(path)}\n".encode())
    return digest.hexdigest()


def read_probe(folder: Path, expected_sha256: str) -> tuple[list[Pair], DatasetDescription]:
    """The probe's pairs and their description.

    Raises:
        CheckpointError: when the folder is missing, or is not the one that the checkpoint was saved with.
    """
    if not folder.is_dir():
        raise CheckpointError(f"there are no probe tiles at {folder} to verify on; pass labelled tiles with --data DIR")
    if expected_sha256 and probe_sha256(folder) != expected_sha256:
        raise CheckpointError(
            f"the probe tiles at {folder} are not those of the checkpoint (their hash differs); pass labelled tiles with --data DIR"
        )
    description = load_description(str(folder / DESCRIPTION_NAME))
    return find_pairs(folder, description), description
