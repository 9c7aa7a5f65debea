"""JPEG 2000 (ITU-T T.800), as a codestream or in a box of a JP2 file (annex I): its SIZ segment."""

from __future__ import annotations

import struct

from dlcv.runtime.headers.base import ImageHeader, cut_off, damaged

_CODESTREAM = b"\xff\x4f\xff\x51"
_JP2 = b"\x00\x00\x00\x0cjP  \r\n\x87\n"


def matches(data: bytes) -> bool:
    """Whether `data` starts like a JPEG 2000 file."""
    return data.startswith((_CODESTREAM, _JP2))


def read(data: bytes) -> ImageHeader:
    """The header of the codestream.

    Raises:
        TileError: when the file ends before or inside the SIZ segment, or holds something else in its place.
    """
    start = 0 if data.startswith(_CODESTREAM) else _boxed(data)
    if start + 45 > len(data):
        raise cut_off("JPEG 2000")
    if not data.startswith(_CODESTREAM, start):
        raise damaged("JPEG 2000", "its codestream does not begin with an image size")
    right, bottom, left, top = struct.unpack_from(">IIII", data, start + 8)
    (channels,) = struct.unpack_from(">H", data, start + 40)
    depth = data[start + 42]
    kind = "signed" if depth & 0x80 else "unsigned"
    return ImageHeader("JPEG 2000", (bottom - top, right - left), channels, (depth & 0x7F) + 1, kind)


def _boxed(data: bytes) -> int:
    """Where the codestream begins. Box after box: other boxes may hold what looks like one."""
    at = 0
    while at + 8 <= len(data):
        length, kind, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if length == 1:  # a longer number follows
            length, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if kind == b"jp2c":
            return at + head
        if length < head:  # 0: to the end of the file
            break
        at += length
    raise cut_off("JPEG 2000")
