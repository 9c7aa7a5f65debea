"""JPEG 2000 (ITU-T T.800), as a codestream or in a JP2 file: its SIZ segment."""

from __future__ import annotations

import struct

from dlcv.runtime.headers.base import ImageHeader, cut_off

_CODESTREAM = b"\xff\x4f\xff\x51"
_JP2 = b"\x00\x00\x00\x0cjP  \r\n\x87\n"


def matches(data: bytes) -> bool:
    """Whether `data` starts like a JPEG 2000 file."""
    return data.startswith((_CODESTREAM, _JP2))


def read(data: bytes) -> ImageHeader:
    """The header of the codestream.

    Raises:
        TileError: when the file ends before or inside the SIZ segment.
    """
    start = data.find(_CODESTREAM)
    if start < 0 or start + 45 > len(data):
        raise cut_off("JPEG 2000")
    right, bottom, left, top = struct.unpack_from(">IIII", data, start + 8)
    (channels,) = struct.unpack_from(">H", data, start + 40)
    depth = data[start + 42]
    kind = "signed" if depth & 0x80 else "unsigned"
    return ImageHeader("JPEG 2000", (bottom - top, right - left), channels, (depth & 0x7F) + 1, kind)
