"""How sure the model is of each pixel: the probability of the class that it chose, as a grey PNG, and a table of means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import TileError, UsageError
from dlcv.runtime.outputs.base import Counted
from dlcv.runtime.outputs.beside import CONFIDENCE, CONFIDENCE_TIF, beside
from dlcv.runtime.outputs.extras import FileExtra, Seen, TableExtra, scene_of
from dlcv.runtime.records.journal import csv_line
from dlcv.runtime.tiles.tile_list import Tile

UNSURE = 0.5
"""Below this, all other classes together are the likelier."""
_DIGITS = 4


class ConfidenceMaps(FileExtra):
    """A grey PNG of 8 bits a tile: 255 is a probability of 1, steps are of 1/255; of a large image a Cloud Optimized GeoTIFF."""

    kinds, large_kinds = (CONFIDENCE,), (CONFIDENCE_TIF,)
    needs_confidence = True

    def encode(self, seen: Seen) -> tuple[bytes]:
        levels = np.rint(known(seen) * 255).astype(np.uint8)
        _, data = cv2.imencode(".png", levels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        return (bytes(data),)

    def write_large(self, tile: Tile, counted: Counted) -> str:
        sureness = scene_of(counted).sureness
        assert sureness is not None, "it was asked for"
        with self._files.at(beside(CONFIDENCE_TIF, tile.key)) as path:
            sureness.copy_to(path)
        return ""


class ConfidenceTable(TableExtra):
    """`confidence.csv`: a row a tile: the mean of its pixels' confidence, and the share of pixels below 0.5."""

    name = "confidence.csv"
    columns = ("mean", "below_half")
    needs_confidence = True

    def rows(self, seen: Seen) -> Iterable[Sequence[str]]:
        confidence = known(seen)
        return [_row(mean_of(confidence), float(np.mean(confidence < UNSURE)))]

    def write_large(self, tile: Tile, counted: Counted) -> str:
        assert counted.sure is not None, "it was asked for"
        return csv_line((tile.key, *_row(*counted.sure)))


def _row(mean: float, below_half: float) -> tuple[str, str]:
    return f"{mean:.{_DIGITS}f}", f"{below_half:.{_DIGITS}f}"


def known(seen: Seen) -> NDArray[np.float32]:
    """The confidence of each pixel, float32 (h, w).

    Raises:
        TileError: when a pixel has none.
    """
    assert seen.confidence is not None, "an extra that needs the confidence says so in needs_confidence"
    if not np.isfinite(seen.confidence).all():
        raise TileError("the probabilities are not numbers; export the model in fp32, or look at its training")
    return seen.confidence


def mean_of(confidence: NDArray[np.float32]) -> float:
    """Of float32 (h, w), summed in float64."""
    return float(confidence.mean(dtype=np.float64))


def require_probabilities(card: ModelCard, engine: str) -> None:
    """Sees to it that an engine gives probabilities.

    Raises:
        UsageError: when it gives masks alone.
    """
    if card.head not in ("probs", "logits"):
        raise UsageError(
            f"--confidence needs the probabilities of the classes, and {engine} gives {card.head} alone; export the model with dlcv-export --head probs"
        )
