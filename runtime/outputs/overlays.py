"""Overlays: the image with its classes in the card's colours, their borders drawn in full colour."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.outputs.beside import OVERLAY_JPG, OVERLAY_PNG
from dlcv.runtime.outputs.extras import FileExtra, Seen
from dlcv.runtime.outputs.masks import Palette

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
    """An overlay a tile, of the tile's size.

    Args:
        folder: of the run.
        palette: the card's.
        alpha: share of the class's colour, 0..1.
        file_format: `jpg` or `png`.
    """

    needs_image = True

    def __init__(
        self, folder: Path, palette: Palette, alpha: float = DEFAULT_ALPHA, file_format: str = DEFAULT_FORMAT
    ) -> None:
        super().__init__(folder)
        self.kinds = (FORMATS[file_format],)
        self._palette, self._alpha, self._format = palette, alpha, file_format

    def encode(self, seen: Seen) -> tuple[bytes]:
        return (encode_picture(overlay(seen.image, seen.mask, self._palette, self._alpha), self._format),)


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
    table = np.zeros((1, 256, 3), np.uint8)
    table[0, : len(palette)] = palette
    colours = cv2.LUT(cv2.merge([mask, mask, mask]), table)
    blended = cv2.addWeighted(image_rgb, 1 - alpha, colours, alpha, 0)
    return np.asarray(cv2.copyTo(colours, borders(mask), blended), np.uint8)


def borders(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 (h, w): 255 where one of the four pixels beside has another class, else 0."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    # the largest and the smallest class around a pixel differ where two meet
    return np.where(cv2.dilate(mask, cross) != cv2.erode(mask, cross), 255, 0).astype(np.uint8)


def encode_picture(picture_rgb: NDArray[np.uint8], file_format: str) -> bytes:
    """uint8 (h, w, 3), RGB, as a `jpg` or `png` file."""
    _, data = cv2.imencode(f".{file_format}", cv2.cvtColor(picture_rgb, cv2.COLOR_RGB2BGR), _ENCODING[file_format])
    return bytes(data)
