"""What people would rather see than read: image, truth and prediction side by side, with a legend."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.errors import OutputError
from dlcv.runtime.files import write_bytes

GAP = 8
TITLE_HEIGHT = 32
_INK, _PAPER = (30, 30, 30), 255
_FONT, _SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.55


def colour_mask(mask: NDArray[np.uint8], palette: Sequence[tuple[int, int, int]]) -> NDArray[np.uint8]:
    """Class indices uint8 (H, W) -> colours uint8 (H, W, 3), RGB."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    coloured: NDArray[np.uint8] = table[mask]
    return coloured


def side_by_side(rows: Sequence[Sequence[NDArray[np.uint8]]], titles: Sequence[str]) -> NDArray[np.uint8]:
    """A sheet of pictures.

    Args:
        rows: each a row of pictures uint8 (H, W, 3), RGB, all of one size.
        titles: a word a column.

    Returns:
        uint8 (height, width, 3), RGB.
    """
    height, width = rows[0][0].shape[:2]
    columns = len(titles)
    sheet = np.full((TITLE_HEIGHT + len(rows) * (height + GAP), columns * (width + GAP) - GAP, 3), _PAPER, np.uint8)
    for column, title in enumerate(titles):
        cv2.putText(sheet, title, (column * (width + GAP) + 4, TITLE_HEIGHT - 10), _FONT, _SCALE, _INK, 1, cv2.LINE_AA)
    for r, row in enumerate(rows):
        for c, picture in enumerate(row):
            y, x = TITLE_HEIGHT + r * (height + GAP), c * (width + GAP)
            sheet[y : y + height, x : x + width] = picture
    return sheet


def legend(width: int, classes: Sequence[str], palette: Sequence[tuple[int, int, int]]) -> NDArray[np.uint8]:
    """Coloured squares with the classes' names, in as many lines as `width` needs: uint8 (h, width, 3), RGB."""
    lines: list[list[tuple[int, int]]] = [[]]
    x = 4
    for index, name in enumerate(classes):
        needed = 24 + cv2.getTextSize(name, _FONT, _SCALE, 1)[0][0] + 20
        if x + needed > width and lines[-1]:
            lines.append([])
            x = 4
        lines[-1].append((x, index))
        x += needed
    strip = np.full((28 * len(lines), width, 3), _PAPER, np.uint8)
    for number, line in enumerate(lines):
        for x, index in line:
            y = 28 * number
            cv2.rectangle(strip, (x, y + 6), (x + 16, y + 22), palette[index], -1)
            cv2.rectangle(strip, (x, y + 6), (x + 16, y + 22), _INK, 1)
            cv2.putText(strip, classes[index], (x + 22, y + 20), _FONT, _SCALE, _INK, 1, cv2.LINE_AA)
    return strip


def write_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    """Writes a picture uint8 (H, W, 3), RGB, as PNG or JPEG by the name's suffix, whole or not at all.

    Raises:
        OutputError: when the name ends in something else, or the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in (".png", ".jpg", ".jpeg"):
        raise OutputError(f"cannot write the picture {path}: expected a name that ends in .png or .jpg")
    options = [] if suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, 88]
    _, data = cv2.imencode(suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    write_bytes(path, data.tobytes())
