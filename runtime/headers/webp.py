"""WebP (RFC 9649): lossy, lossless and extended files."""

from __future__ import annotations

import struct

from dlcv.runtime.headers import exif
from dlcv.runtime.headers.base import ImageHeader, cut_off, damaged


def matches(data: bytes) -> bool:
    """Whether `data` starts like a WebP."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def read(data: bytes) -> ImageHeader:
    """The header of a WebP that is as long as it says.

    Raises:
        TileError: when the file is shorter than it says, or starts with an unknown chunk.
    """
    if len(data) < 30 or 8 + int.from_bytes(data[4:8], "little") > len(data):
        raise cut_off("WebP")
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = (value & 0x3FFF for value in struct.unpack_from("<HH", data, 26))
    elif kind == b"VP8L":
        packed = int.from_bytes(data[21:25], "little")
        width, height = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    elif kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    else:
        raise damaged("WebP", "it starts with no image chunk")
    return ImageHeader(
        "WebP", (height, width), 3, 8, orientation=_orientation(data) if kind == b"VP8X" else exif.UPRIGHT
    )


def _orientation(data: bytes) -> int:
    position = 12
    while position + 8 <= len(data):
        kind, length = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        if kind == b"EXIF":
            return exif.orientation(data[position + 8 : position + 8 + length])
        position += 8 + length + length % 2  # chunks are padded to an even length
    return exif.UPRIGHT
