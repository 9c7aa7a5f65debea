"""`NAME.reference.npz`: torch's answers on some images, kept beside an export, so that parity can be checked without torch."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.archive_limits import member_sizes
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.card.reader import read_card
from dlcv.runtime.errors import EngineError, reason_of

CARD_KEY = "dlcv.json"
ANSWER_PREFIX = {"segmentation": "mask_", "classification": "probs_"}
LOGITS_PREFIX = "logits_"
_MOST_BYTES = 1 << 30
"""Unpacked; masks of large tiles are compressed many times over."""


@dataclass(frozen=True)
class Reference:
    """Torch's answers, by the SHA-256 of an image's file.

    Attributes:
        card: of the exported graph.
        answers: class masks, uint8 (h, w), of the tile's own size; or probabilities, float32 (C,).
        logits: of a few images: float32 (C, H, W) of the first window, or (C,).
    """

    card: ModelCard
    answers: dict[str, NDArray[Any]]
    logits: dict[str, NDArray[np.float32]]


def read_reference(path: Path) -> Reference:
    """Reads a reference; nothing in it is unpickled.

    Raises:
        EngineError, CardError: when the file is missing, damaged, or not a reference.
    """
    card = read_card(path)
    try:
        with zipfile.ZipFile(path) as archive:
            member_sizes(archive, max(path.stat().st_size, _MOST_BYTES))
        with np.load(path, allow_pickle=False) as arrays:
            answers, logits = (
                {name.removeprefix(prefix): arrays[name] for name in arrays.files if name.startswith(prefix)}
                for prefix in (ANSWER_PREFIX[card.task], LOGITS_PREFIX)
            )
    except Exception as error:  # damaged bytes fail in many ways: zip, zlib and numpy's header each have their own
        raise EngineError(f"{path} is damaged ({reason_of(error)}); export the model again") from error
    arrays_alone = all(isinstance(array, np.ndarray) for array in (*answers.values(), *logits.values()))
    good = arrays_alone and all(_is_answer(array, card) for array in answers.values())
    good = good and all(_is_logits(array, card) for array in logits.values())
    if not good or not answers:
        raise EngineError(f"{path} is not a reference of dlcv-export; export the model again")
    return Reference(card, answers, logits)


def _is_answer(array: NDArray[Any], card: ModelCard) -> bool:
    if card.task == "segmentation":
        return array.dtype == np.uint8 and array.ndim == 2 and int(array.max(initial=0)) < len(card.classes)
    numbers = array.dtype == np.float32 and array.shape == (len(card.classes),)
    return numbers and bool(np.all((array >= 0) & (array <= 1 + 1e-6)))  # 1 and its rounding; False for NaN


def _is_logits(array: NDArray[Any], card: ModelCard) -> bool:
    axes = 3 if card.task == "segmentation" else 1
    shaped = array.dtype == np.float32 and array.ndim == axes and len(array) == len(card.classes)
    return shaped and bool(np.isfinite(array).all())
