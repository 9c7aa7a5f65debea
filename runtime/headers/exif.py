"""EXIF (CIPA DC-008): the orientation, the one tag that changes pixels. It stands in the first directory of a small TIFF."""

from __future__ import annotations

import struct

_ORIENTATION, _SHORT = 0x0112, 3
PREFIX = b"Exif\0\0"
UPRIGHT, UNCLEAR = 1, 0


def orientation(data: bytes) -> int:
    """The orientation that an EXIF block asks for, 1 (upright, also where it says nothing) to 8; `UNCLEAR` where readers may differ.

    Args:
        data: the TIFF inside the block, with or without `PREFIX`.
    """
    data = data[len(PREFIX) :] if data.startswith(PREFIX) else data
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return UNCLEAR
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        (entries,) = struct.unpack_from(order + "H", data, start)
        for at in range(start + 2, start + 2 + 12 * min(entries, 1024), 12):
            tag, kind, count, value = struct.unpack_from(order + "HHIH", data, at)
            if tag == _ORIENTATION:
                return value if (kind, count) == (_SHORT, 1) and 1 <= value <= 8 else UNCLEAR
    except struct.error:
        return UNCLEAR
    return UPRIGHT
