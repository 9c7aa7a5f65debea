"""BMP: its info header."""

from __future__ import annotations

import struct

from dlcv.runtime.headers.base import ImageHeader, cut_off

_CORE = 12
_HEADER_SIZES = (_CORE, 40, 52, 56, 64, 108, 124)


def matches(data: bytes) -> bool:
    """Whether `data` starts like a BMP; its two letters alone also start texts."""
    return data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _HEADER_SIZES


def read(data: bytes) -> ImageHeader:
    """The header of a BMP; all its pixel formats decode to 8 bits a channel.

    Raises:
        TileError: when the file ends inside the header.
    """
    core = data[14] == _CORE
    if len(data) < (22 if core else 26):
        raise cut_off("BMP")
    width, height = struct.unpack_from("<HH" if core else "<ii", data, 18)
    return ImageHeader("BMP", (abs(height), width), 3, 8)  # a negative height: rows from the top
