"""PNG (W3C recommendation): the size from IHDR, and every chunk's checksum up to IEND."""

from __future__ import annotations

import struct
import zlib

from dlcv.runtime.headers.base import ImageHeader, cut_off, damaged

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
_HEADER_END = 33


def matches(data: bytes) -> bool:
    """Whether `data` starts like a PNG."""
    return data.startswith(_SIGNATURE)


def read(data: bytes) -> ImageHeader:
    """The header of a PNG that is whole.

    Raises:
        TileError: when the file ends before its IEND chunk, or a checksum of a chunk that the image needs does not fit.
    """
    header = _ihdr(data)
    _check_chunks(data)
    return header


def _ihdr(data: bytes) -> ImageHeader:
    if len(data) < _HEADER_END:
        raise cut_off("PNG")
    if data[12:16] != b"IHDR":
        raise damaged("PNG", "it does not start with an IHDR chunk")
    width, height, bits, colour_type = struct.unpack_from(">IIBB", data, 16)
    if colour_type not in _CHANNELS:
        raise damaged("PNG", f"its colour type is {colour_type}, expected 0, 2, 3, 4 or 6")
    return ImageHeader("PNG", (height, width), _CHANNELS[colour_type], bits)


def _check_chunks(data: bytes) -> None:
    # our own checksums: libpng would find the same faults, but prints them to stderr
    view, position, kind = memoryview(data), len(_SIGNATURE), b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise cut_off("PNG")
        length = int.from_bytes(view[position : position + 4], "big")
        kind, end = bytes(view[position + 4 : position + 8]), position + 8 + length
        if end + 4 > len(data):
            raise cut_off("PNG")
        if kind == b"IHDR" and position > len(_SIGNATURE):  # readers differ in which of two they take
            raise damaged("PNG", "it holds two IHDR chunks")
        needed = not kind[0] & 0x20
        if needed and zlib.crc32(view[position + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise damaged("PNG", "a checksum does not fit")
        position = end + 4
