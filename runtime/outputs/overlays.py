"""Overlays: the image with its classes in the card's colours, their borders drawn in full colour."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.masks import Palette
from dlcv.runtime.outputs.base import Counted
from dlcv.runtime.outputs.beside import OVERLAY_JPG, OVERLAY_PNG, OVERLAY_TIF, beside
from dlcv.runtime.outputs.extras import FileExtra, Seen, scene_of
from dlcv.runtime.tiles.tile_list import Tile

DEFAULT_ALPHA = 0.4
"""Enough to tell the classes apart, and the ground below is still seen."""
DEFAULT_FORMAT = "jpg"
FORMATS = {"jpg": OVERLAY_JPG, "png": OVERLAY_PNG}
_ENCODING = {
    # the colour of a border one pixel wide would be smeared over its neighbours by JPEG's usual 4:2:0
    "jpg": [cv2.IMWRITE_JPEG_QUALITY, 88, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444],
    "png": [cv2.IMWRITE_PNG_COMPRESSION, 1],
}


class Overlays(FileExtra):
    """An overlay a tile, of the tile's size; of a large image a Cloud Optimized GeoTIFF.

    Args:
        folder: of the run.
        palette: the card's.
        alpha: share of the class's colour, 0..1.
        file_format: `jpg` or `png`.
    """

    needs_image = True
    large_kinds = (OVERLAY_TIF,)

    def __init__(
        self, folder: Path, palette: Palette, alpha: float = DEFAULT_ALPHA, file_format: str = DEFAULT_FORMAT
    ) -> None:
        super().__init__(folder)
        self.kinds = (FORMATS[file_format],)
        self._palette, self._alpha, self._format = palette, alpha, file_format

    def encode(self, seen: Seen) -> tuple[bytes]:
        return (encode_picture(overlay(seen.image, seen.mask, self._palette, self._alpha), self._format),)

    def write_large(self, tile: Tile, counted: Counted) -> str:
        def drawn(image: NDArray[np.uint8], around: NDArray[np.uint8], offset: tuple[int, int]) -> NDArray[np.uint8]:
            return overlay_part(image, around, offset, self._palette, self._alpha)

        with self._files.at(beside(OVERLAY_TIF, tile.key)) as path:
            scene_of(counted).write_overlay(path, drawn, lossless=self._format == "png")
        return ""


def overlay(
    image_rgb: NDArray[np.uint8], mask: NDArray[np.uint8], palette: Palette, alpha: float = DEFAULT_ALPHA
) -> NDArray[np.uint8]:
    """The image and the classes' colours, blended; pixels beside another class in their class's colour alone.

    Args:
        image_rgb: uint8 (h, w, 3), RGB.
        mask: uint8 (h, w), class indices.
        palette: (R, G, B), 0..255, of each index; an index behind its end is black.
        alpha: share of the colour, 0..1.

    Returns:
        uint8 (h, w, 3), RGB.
    """
    return _drawn(image_rgb, mask, borders(mask), palette, alpha)


def overlay_part(
    image_rgb: NDArray[np.uint8],
    around: NDArray[np.uint8],
    offset: tuple[int, int],
    palette: Palette,
    alpha: float = DEFAULT_ALPHA,
) -> NDArray[np.uint8]:
    """As `overlay`, of a part of an image: the part of the whole image's overlay.

    Args:
        image_rgb: uint8 (h, w, 3), RGB.
        around: uint8, the mask of the part and of one more row and column on each side, where the image goes on there.
        offset: y and x of the part in `around`.
        palette, alpha: see `overlay`.
    """
    height, width = image_rgb.shape[:2]
    place = np.s_[offset[0] : offset[0] + height, offset[1] : offset[1] + width]
    edges = np.ascontiguousarray(borders(around)[place])
    return _drawn(image_rgb, np.ascontiguousarray(around[place]), edges, palette, alpha)


def _drawn(
    image_rgb: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    edges: NDArray[np.uint8],
    palette: Palette,
    alpha: float,
) -> NDArray[np.uint8]:
    table = np.zeros((1, 256, 3), np.uint8)
    table[0, : len(palette)] = palette
    colours = cv2.LUT(cv2.merge([mask, mask, mask]), table)
    blended = cv2.addWeighted(image_rgb, 1 - alpha, colours, alpha, 0)
    return np.asarray(cv2.copyTo(colours, edges, blended), np.uint8)


def borders(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 (h, w): 255 where one of the four pixels beside has another class, else 0."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    # the largest and the smallest class around a pixel differ where two meet
    return np.where(cv2.dilate(mask, cross) != cv2.erode(mask, cross), 255, 0).astype(np.uint8)


def encode_picture(picture_rgb: NDArray[np.uint8], file_format: str) -> bytes:
    """uint8 (h, w, 3), RGB, as a `jpg` or `png` file."""
    _, data = cv2.imencode(f".{file_format}", cv2.cvtColor(picture_rgb, cv2.COLOR_RGB2BGR), _ENCODING[file_format])
    return bytes(data)
