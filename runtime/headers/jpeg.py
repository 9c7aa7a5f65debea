"""JPEG (ITU-T T.81, annex B): one walk over the markers gives the size and shows whether the file reaches its end."""

from __future__ import annotations

import re
import struct
from dataclasses import replace

from dlcv.runtime.headers import exif
from dlcv.runtime.headers.base import ImageHeader, cut_off, damaged

# In entropy-coded data a 0xFF is followed by 0x00 (a stuffed byte) or by a restart marker (0xD0 to 0xD7); 0xFF 0xFF
# is a fill byte. What else follows a 0xFF is a marker, so that the same search steps from segment to segment and
# over whole scans.
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = frozenset((0xC0, 0xC1))
_SCAN = 0xDA
_WITHOUT_LENGTH = frozenset((0x01, 0xD8))
_END = 0xD9
_APP1 = 0xE1


def matches(data: bytes) -> bool:
    """Whether `data` starts like a JPEG."""
    return data.startswith(b"\xff\xd8\xff")


def read(data: bytes) -> ImageHeader:
    """The header of a JPEG that is whole.

    Segments are stepped over by their length, so that the end marker of an EXIF thumbnail does not count; a
    progressive file's scans are all walked.

    Raises:
        TileError: when the file ends before its end-of-image marker, or has no frame.
    """
    header, position, turned, frame = None, 2, exif.UPRIGHT, 0
    while (match := _MARKER.search(data, position)) is not None:
        code, position = match.group(1)[0], match.end()
        if code == _END or (code == _SCAN and frame in _SEQUENTIAL and _ends_with_only_scan(data, position, header)):
            if header is None:
                raise damaged("JPEG", "it holds no frame")
            return header if turned == exif.UPRIGHT else replace(header, orientation=turned)
        if code in _WITHOUT_LENGTH:
            continue
        if position + 2 > len(data):
            break
        if code in FRAMES:
            header, frame = _frame(data, position), code
        length = max(2, int.from_bytes(data[position : position + 2], "big"))
        if code == _APP1 and data.startswith(exif.PREFIX, position + 2):
            found = exif.orientation(data[position + 2 : position + length])
            turned = found if turned in (found, exif.UPRIGHT) else exif.UNCLEAR
        position += length
    raise cut_off("JPEG")


def _ends_with_only_scan(data: bytes, position: int, header: ImageHeader | None) -> bool:
    """Whether a scan holds all components, so that none follows it, and the file ends with the end marker, which cannot stand
    inside a scan: then the scan need not be walked, which takes 5 % of the time of decoding it.
    """
    if header is None or not data.endswith(b"\xff\xd9") or position + 3 > len(data):
        return False
    length = int.from_bytes(data[position : position + 2], "big")
    return data[position + 2] == header.channels and position + length <= len(data) - 2


def _frame(data: bytes, position: int) -> ImageHeader:
    if position + 8 > len(data):
        raise cut_off("JPEG")
    bits, height, width, channels = struct.unpack_from(">BHHB", data, position + 2)
    return ImageHeader("JPEG", (height, width), channels, bits)
