"""TIFF 6.0 and BigTIFF: the first image of the file, from its directory."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.errors import TileError
from dlcv.runtime.headers.base import ImageHeader, cut_off, damaged

_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _EXTRA, _FORMAT = 256, 257, 258, 262, 277, 338, 339
_STRIPS, _TILES = (273, 279), (324, 325)  # offsets and byte counts
_JPEG_TABLES = 347  # never used here, but a file may be cut off inside them
_WANTED = {_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _EXTRA, _FORMAT, *_STRIPS, *_TILES, _JPEG_TABLES}
_TYPES = {1: "u1", 3: "u2", 4: "u4", 7: "u1", 13: "u4", 16: "u8"}
_KINDS = {1: "unsigned", 2: "signed", 3: "float", 4: "unsigned", 5: "complex", 6: "complex"}
_WHITE_IS_0, _PALETTE = 0, 3
_ASSOCIATED, _UNASSOCIATED = 1, 2


@dataclass(frozen=True)
class _Field:
    values: NDArray[Any]  # a view of the file's bytes: a count may be as large as the file
    at: int  # where the first value stands in the file, in bytes


def matches(data: bytes) -> bool:
    """Whether `data` starts like a TIFF."""
    return data.startswith(_STARTS)


def read(data: bytes) -> ImageHeader:
    """The header of the first image.

    Raises:
        TileError: when the directory or a strip or tile lies behind the end of the file, the size is missing, or white is
            stored as 0 in more than 8 bits, which OpenCV takes for black.
    """
    fields = _directory(data)
    if _WIDTH not in fields or _HEIGHT not in fields:
        raise damaged("TIFF", "its directory holds no image size")
    for offsets, counts in (_STRIPS, _TILES):
        if offsets in fields and counts in fields:
            _check_inside(fields[offsets].values, fields[counts].values, len(data))
    channels = 3 if _first(fields, _PHOTOMETRIC) == _PALETTE else _first(fields, _SAMPLES)
    bits = int(fields[_BITS].values.max()) if _BITS in fields else 1
    kind = _KINDS.get(_first(fields, _FORMAT), "unsigned")
    if bits > 8 and kind == "unsigned" and _first(fields, _PHOTOMETRIC) == _WHITE_IS_0:
        raise TileError(
            f"white is stored as 0 (MINISWHITE) in {bits} bits, expected that of up to 8 bits; write it with black as 0"
        )
    unassociated = _EXTRA in fields and len(fields[_EXTRA].values) == 1 and _first(fields, _EXTRA) == _UNASSOCIATED
    return ImageHeader(
        "TIFF",
        (_first(fields, _HEIGHT), _first(fields, _WIDTH)),
        channels,
        bits,
        kind,
        straight_alpha=bool(bits == 8 and channels == 4 and unassociated),
    )


def with_associated_alpha(data: bytes) -> bytes:
    """A copy that calls its alpha channel associated, pixels unchanged.

    libtiff multiplies the colours by an unassociated alpha before OpenCV drops it, which would darken them.
    """
    copy, at = bytearray(data), _directory(data)[_EXTRA].at
    struct.pack_into(_order(data) + "H", copy, at, _ASSOCIATED)
    return bytes(copy)


def _first(fields: dict[int, _Field], tag: int) -> int:
    return int(fields[tag].values[0]) if tag in fields else 1


def _check_inside(offsets: NDArray[Any], counts: NDArray[Any], length: int) -> None:
    most = min(len(offsets), len(counts))
    begin, size = offsets[:most].astype(np.uint64), counts[:most].astype(np.uint64)
    if np.any((begin > length) | (size > length)) or np.any(begin + size > length):
        raise cut_off("TIFF")


def _order(data: bytes) -> str:
    return "<" if data[:2] == b"II" else ">"


def _directory(data: bytes) -> dict[int, _Field]:
    order, big = _order(data), b"+" in data[2:4]
    number, count_format, entry_size = ("Q", "Q", 20) if big else ("I", "H", 12)
    try:
        (start,) = struct.unpack_from(order + number, data, 8 if big else 4)
        (entries,) = struct.unpack_from(order + count_format, data, start)
        first = start + struct.calcsize(count_format)
        found: dict[int, _Field | None] = {}
        for at in range(first, first + min(entries, 4096) * entry_size, entry_size):
            (tag,) = struct.unpack_from(order + "H", data, at)
            if tag in _WANTED and tag not in found:  # of a tag that stands there twice, libtiff too takes the first
                found[tag] = _entry(data, order, number, at)
        return {tag: field for tag, field in found.items() if field is not None}
    except (struct.error, OverflowError):
        raise cut_off("TIFF") from None


def _entry(data: bytes, order: str, number: str, at: int) -> _Field | None:
    _, kind, count = struct.unpack_from(order + "HH" + number, data, at)
    if kind not in _TYPES or not count > 0:
        return None
    at += 4 + struct.calcsize(number)
    dtype = np.dtype(order + _TYPES[kind])
    if dtype.itemsize * count > struct.calcsize(number):
        (at,) = struct.unpack_from(order + number, data, at)
    if at + dtype.itemsize * count > len(data):
        raise cut_off("TIFF")
    return _Field(np.frombuffer(data, dtype, count, at), at)
