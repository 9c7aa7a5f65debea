"""Segmentation's output: a mask a tile, each a file of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.answers import segmented_of
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.files import remove_partials
from dlcv.runtime.masks import encode_mask
from dlcv.runtime.outputs.base import Counted, Output
from dlcv.runtime.outputs.named_files import NamedFiles
from dlcv.runtime.records.output_names import DEFAULT_TEMPLATE, check_names, name_of
from dlcv.runtime.tiles.tile_list import Tile, TileList

FEW_CLASSES = 16


class MaskFolder(Output[NDArray[np.int64]]):
    """Writes each mask under the name that its tile's key gives.

    Args:
        folder: of the masks; it need not be there yet.
        card: its palette and classes.
        tiles: all that were asked for.
        template: of names, see `output_names.py`.

    Raises:
        UsageError: when two tiles would get one name, or the template cannot be used.
    """

    counted = "pixels"
    a_file_a_tile = True

    def __init__(self, folder: Path, card: ModelCard, tiles: Sequence[Tile], template: str = DEFAULT_TEMPLATE) -> None:
        self._folder, self._card = folder, card
        check_names(tiles, template)
        self._tiles, self._template = tiles, template
        self._pixels = np.zeros(256, np.int64)
        self._files = NamedFiles(folder)

    def names(self) -> Iterator[tuple[str, str]]:
        return ((self._name(tile), f"the mask of {tile.key}") for tile in self._tiles)

    def _name(self, tile: Tile) -> str:
        return name_of(tile, self._template)

    def left(self, tiles: Sequence[Tile], before: Mapping[str, str]) -> TileList:
        return TileList(tile for tile in tiles if before.get(tile.key) != self._name(tile))

    def clear_up(self, left: Sequence[Tile]) -> None:
        for folder in {self._name(tile).rpartition("/")[0] for tile in left}:
            remove_partials(self._folder / folder)

    def write(self, tile: Tile, answer: NDArray[Any], image_rgb: NDArray[np.uint8] | None = None) -> NDArray[np.int64]:
        mask = segmented_of(answer).mask
        self._files.write(self._name(tile), encode_mask(mask, self._card.palette))
        return class_pixels(mask)

    def write_large(self, tile: Tile, counted: Counted) -> NDArray[np.int64]:
        return counted.pixels

    def note(self, tile: Tile, result: NDArray[np.int64]) -> str:
        self._pixels += result
        return self._name(tile)

    def by_class(self) -> dict[str, int]:
        """Pixels of each class, over the masks that this run wrote."""
        return dict(zip(self._card.classes, self._pixels.tolist()))


def class_pixels(mask: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Pixels of each index in a mask, uint8 (H, W): int64 (256,)."""
    last = int(mask.max(initial=0))
    if last < FEW_CLASSES:  # one quick pass a class takes less than one slow pass over all
        counted, equal = np.zeros(256, np.int64), np.empty(mask.shape, bool)
        for index in range(last):
            np.equal(mask, index, out=equal)
            counted[index] = cv2.countNonZero(equal.view(np.uint8))  # numpy's takes twice as long
        counted[last] = mask.size - counted.sum()
        return counted
    if mask.size < 1 << 24:  # cv2 counts in float32, exact up to there; it is faster and holds no lock
        return cv2.calcHist([mask], [0], None, [256], [0, 256]).ravel().astype(np.int64)
    return np.bincount(mask.ravel(), minlength=256).astype(np.int64)
