"""Masks as palette PNGs: the values are class indices, and any viewer shows the palette's colours.

Our own writer, because OpenCV cannot write palettes, and for its speed: on 512 x 512 aerial masks, beside OpenCV's grey
PNG, about 0.8 of the time with zlib and 0.25 with `isal`; files of 0.75 and 1.0 of its size. Rows are filtered with Up
(PNG, section 9.2): what continues downwards becomes zeros. zlib's run-length strategy then beats its levels 1 to 6 in
time and in size.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.deflate import deflated
from dlcv.runtime.errors import TileError, reason_of
from dlcv.runtime.files import write_bytes

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EIGHT_BIT_PALETTE = b"\x08\x03\x00\x00\x00"  # bit depth, colour type, compression, filter method, interlace
_UP = 2

Palette = Sequence[tuple[int, int, int]]


def encode_mask(mask: NDArray[np.uint8], palette: Palette, *, level: int = 1) -> bytes:
    """A mask as an 8-bit palette PNG.

    Args:
        mask: uint8 (H, W), class indices; H and W at least 1.
        palette: (R, G, B), 0..255, of each index; at most 256. Indices behind its end are kept as they are and shown
        black. level: of compression, 1 (fastest) to 9; levels above 1 take zlib even where `isal` is installed.

    Returns:
        The file's bytes; they depend on whether `isal` is installed, the pixels do not.

    Raises:
        ValueError: when the mask is not uint8 (H, W) or the palette is too long.
    """
    if mask.dtype != np.uint8 or mask.ndim != 2 or mask.size == 0:
        raise ValueError(f"expected a mask uint8 (H, W), got {mask.dtype} {mask.shape}")
    height, width = mask.shape
    return b"".join(
        (
            _SIGNATURE,
            _chunk(b"IHDR", struct.pack(">II", width, height) + _EIGHT_BIT_PALETTE),
            _chunk(b"PLTE", _palette_bytes(mask, tuple(tuple(colour) for colour in palette))),
            _chunk(b"IDAT", deflated(_filtered_up(mask).data, level)),
            _chunk(b"IEND", b""),
        )
    )


def write_mask(path: Path, mask: NDArray[np.uint8], palette: Palette, *, level: int = 1) -> None:
    """Writes `encode_mask(mask, palette)` to `path`, whole or not at all.

    Raises:
        OutputError: when the file cannot be written.
        ValueError: as `encode_mask`.
    """
    write_bytes(path, encode_mask(mask, palette, level=level))


def read_mask(path: Path) -> NDArray[np.uint8]:
    """The values of a palette or grey PNG of at most 8 bits: class indices, not colours.

    Returns:
        uint8 (H, W).

    Raises:
        TileError: when the file cannot be read, is no PNG, or holds colours or 16 bits; the message does not repeat
            the path.
    """
    from io import BytesIO

    from PIL import Image

    from dlcv.runtime.headers import png
    from dlcv.runtime.tiles.decode import read_file

    data = read_file(path)
    if not png.matches(data):
        raise TileError("expected class indices: a palette or grey PNG of 8 bits, this is no PNG")
    png.read(data)  # told as for a tile: cut off, damaged
    try:
        with Image.open(BytesIO(data), formats=("PNG",)) as image:
            if image.mode not in ("P", "L"):
                raise TileError(f"expected class indices: a palette or grey PNG of 8 bits, this one holds {image.mode}")
            return np.array(image, dtype=np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, MemoryError) as error:
        raise TileError(f"the PNG file is damaged: {reason_of(error)}; copy it again") from error


def _palette_bytes(mask: NDArray[np.uint8], palette: tuple[tuple[int, ...], ...]) -> bytes:
    if len(palette) > 256:
        raise ValueError(f"expected a palette of at most 256 colours, got {len(palette)}")
    colours = bytes(value for colour in palette for value in colour)
    return colours.ljust(3 * (int(mask.max()) + 1), b"\0")  # an index without an entry would be an error in the file


def _filtered_up(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 (H, 1 + W): each row its filter's number, then its differences to the row above, modulo 256."""
    rows = np.empty((mask.shape[0], mask.shape[1] + 1), np.uint8)
    rows[:, 0] = _UP
    rows[0, 1:] = mask[0]
    np.subtract(mask[1:], mask[:-1], out=rows[1:, 1:])
    return rows


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
