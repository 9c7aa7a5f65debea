"""Which tiles are read by windows: georeferenced TIFFs of any size, and what is too large to be decoded whole.

A TIFF's directory is looked at, and of a JPEG or PNG the first bytes, where its file could hold so many pixels.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import BinaryIO

from dlcv.runtime.headers.jpeg import FRAMES as JPEG_FRAMES
from dlcv.runtime.raster.library import has_rasterio
from dlcv.runtime.tiles.looks import Looks
from dlcv.runtime.tiles.tile_list import Tile, TileList, unmarked
from dlcv.runtime.tiles.urls import is_url

LARGE_TIFF_PIXELS = 1 << 26
"""Of a TIFF without georeference: 8192 x 8192, 201 MB as RGB; from there on it is not decoded whole."""
MOST_PIXELS_A_BYTE = {".png": 8 * 1032, ".jpg": 512, ".jpeg": 512}
"""Of an image without anything on it; a smaller file is taken for a tile unseen. Deflate makes at best 1032 bytes one, of 8 pixels of
1 bit each; a block of 8 x 8 pixels of a JPEG takes at least a bit."""
_MOST_SEGMENTS = 4096  # of a JPEG, in front of its frame; a file of fill bytes has no end
_WIDTH, _HEIGHT, _ORIENTATION = 256, 257, 274
_GEOREFERENCE = {33550, 33922, 34264, 34735}  # pixel scale, tie points, transformation, GeoKey directory
_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SIZES = {1: "B", 3: "H", 4: "I", 16: "Q"}


@dataclass(frozen=True)
class TiffFacts:
    """What a TIFF's first directory tells.

    Attributes:
        size_hw: in pixels.
        georeferenced: it has GeoTIFF tags, or a world file (`.tfw`) beside it.
        orientation: how it wants to be shown; 1, or anything but 2 to 8, is upright.
    """

    size_hw: tuple[int, int]
    georeferenced: bool
    orientation: int = 1


def mark_large(
    tiles: TileList,
    *,
    max_pixels: int,
    every_tiff: bool = False,
    say: Callable[[str], None] = lambda _: None,
    looks: Looks | None = None,
) -> TileList:
    """The same tiles, those that are read by windows marked `large`; none at a URL is. Without any, `tiles` itself.

    Args:
        tiles: as they were found.
        max_pixels: of the largest image that is decoded whole.
        every_tiff: take all TIFFs, because bands of them were chosen.
        say: takes a line where rasterio is missing and would be used.
        looks: what was asked about the files already, or will be again.
    """
    looks = looks or Looks()
    found = bytearray()
    for where, _, names in tiles.parts():
        if is_url(where):
            found += bytes(1 + names.count("/"))
        else:
            found += bytes(_is_large(where + unmarked(n), max_pixels, every_tiff, looks) for n in names.split("/"))
    if not any(found):
        return tiles
    if not has_rasterio():
        such = min(tile.key for tile in compress(tiles, found))
        say(
            f"{sum(found)} georeferenced or very large images, such as {such}, are run as plain tiles without rasterio; "
            "install it with: pip install 'dlcv-edge[geo]'"
        )
        return tiles
    return TileList(
        Tile(tile.where, tile.key, tile.plain, large=True) if large else tile for tile, large in zip(tiles, found)
    )


def tiff_facts(path: Path) -> TiffFacts | None:
    """The first directory of a TIFF or BigTIFF; None where the file is none, or is damaged: decoding will tell why."""
    try:
        with open(path, "rb") as file:
            if file.read(4) not in _STARTS:
                return None
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                tags = _tags(data)
    except (OSError, ValueError, struct.error, OverflowError):
        return None
    if not tags.get(_WIDTH) or not tags.get(_HEIGHT):
        return None
    georeferenced = bool(_GEOREFERENCE & set(tags)) or path.with_suffix(".tfw").exists()
    return TiffFacts((tags[_HEIGHT], tags[_WIDTH]), georeferenced, tags.get(_ORIENTATION, 1))


def _is_large(where: str, max_pixels: int, every_tiff: bool, looks: Looks) -> bool:
    suffix = where[where.rfind(".") :].lower()  # a Tile and a Path take longer than all that is asked of the file
    most = MOST_PIXELS_A_BYTE.get(suffix)
    if most is not None:
        facts = looks.at(where)
        return facts is not None and facts.size * most > max_pixels and _picture_pixels(where) > max_pixels
    if suffix in (".webp", ".bmp") or not os.path.isfile(where):
        return False
    tiff = tiff_facts(Path(where))
    if tiff is None:
        return False
    pixels = tiff.size_hw[0] * tiff.size_hw[1]
    return every_tiff or tiff.georeferenced or pixels > min(LARGE_TIFF_PIXELS, max_pixels)


def _picture_pixels(where: str) -> int:
    """Of a JPEG or PNG, or of a TIFF under such a name; 0 where the file is none, or is damaged: decoding will tell why."""
    try:
        with open(where, "rb", buffering=0) as file:
            start = file.read(24)
            if start.startswith(b"\x89PNG"):
                width, height = struct.unpack_from(">II", start, 16)
                return int(width * height)
            if start.startswith(b"\xff\xd8"):
                return _jpeg_pixels(file)
    except (OSError, struct.error):
        return 0
    tiff = tiff_facts(Path(where)) if start.startswith(_STARTS) else None
    return tiff.size_hw[0] * tiff.size_hw[1] if tiff is not None else 0


def _jpeg_pixels(file: BinaryIO) -> int:
    """Steps from segment to segment to the frame, which stands in front of the pixels."""
    at = 2
    for _ in range(_MOST_SEGMENTS):
        file.seek(at)
        fill, marker, length, _, height, width = struct.unpack(">BBHBHH", file.read(9))
        if fill != 0xFF or marker == 0xDA:
            return 0
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in JPEG_FRAMES:
            return int(height * width)
        else:
            at += 2 + max(2, length)
    return 0


def _tags(data: mmap.mmap) -> dict[int, int]:
    """Tag -> its first value where that is a whole number in the entry itself, else 0."""
    order, big = "<" if data[:2] == b"II" else ">", b"+" in data[2:4]
    number, count_format, entry_size = ("Q", "Q", 20) if big else ("I", "H", 12)
    (start,) = struct.unpack_from(order + number, data, 8 if big else 4)
    (entries,) = struct.unpack_from(order + count_format, data, start)
    first = start + struct.calcsize(count_format)
    tags: dict[int, int] = {}
    for at in range(first, first + min(entries, 4096) * entry_size, entry_size):
        tag, kind, count = struct.unpack_from(order + "HH" + number, data, at)
        inline = kind in _SIZES and count == 1
        value = struct.unpack_from(order + _SIZES[kind], data, at + 4 + struct.calcsize(number))[0] if inline else 0
        tags.setdefault(tag, value)  # as in `headers/tiff.py`: the first of two
    return tags
