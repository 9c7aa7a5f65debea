"""`NAME.reference.npz`: torch's answers on some tiles, kept beside an export, so that parity can be checked without torch."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.card import ModelCard
from dlcv.runtime.card_reader import read_card
from dlcv.runtime.errors import EngineError

CARD_KEY = "dlcv.json"


@dataclass(frozen=True)
class Reference:
    """Torch's answers, by the SHA-256 of a tile's file.

    Attributes:
        card: of the exported graph.
        masks: class masks, uint8 (h, w), of the tile's own size.
        logits: float32 (C, H, W) of the first window of a few tiles.
    """

    card: ModelCard
    masks: dict[str, NDArray[np.uint8]]
    logits: dict[str, NDArray[np.float32]]


def read_reference(path: Path) -> Reference:
    """Reads a reference; nothing in it is unpickled.

    Raises:
        EngineError, CardError: when the file is missing, damaged, or not a reference.
    """
    try:
        card = read_card(path)
        with np.load(path, allow_pickle=False) as arrays:
            masks = {name[5:]: arrays[name] for name in arrays.files if name.startswith("mask_")}
            logits = {name[7:]: arrays[name] for name in arrays.files if name.startswith("logits_")}
    except (OSError, ValueError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        # ValueError: also an array of Python objects; RuntimeError: an encrypted member, or an unknown compression
        raise EngineError(f"{path} is damaged ({error}); export the model again") from error
    wrong = [
        mask
        for mask in masks.values()
        if mask.dtype != np.uint8 or mask.ndim != 2 or mask.max(initial=0) >= len(card.classes)
    ]
    wrong += [scores for scores in logits.values() if scores.dtype != np.float32 or scores.ndim != 3]
    if wrong or not masks:
        raise EngineError(f"{path} is not a reference of dlcv-export; export the model again")
    return Reference(card, masks, logits)
