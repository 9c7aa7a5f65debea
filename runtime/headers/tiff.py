"""TIFF 6.0 and BigTIFF: the first image of the file, from its directory."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from dlcv.runtime.headers.base import ImageHeader, cut_off, damaged

_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _EXTRA, _FORMAT = 256, 257, 258, 262, 277, 338, 339
_STRIPS, _TILES = (273, 279), (324, 325)  # offsets and byte counts
_JPEG_TABLES = 347  # never used here, but a file may be cut off inside them
_WANTED = {_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _EXTRA, _FORMAT, *_STRIPS, *_TILES, _JPEG_TABLES}
_TYPES = {1: "B", 3: "H", 4: "I", 7: "B", 13: "I", 16: "Q"}
_KINDS = {1: "unsigned", 2: "signed", 3: "float", 4: "unsigned", 5: "complex", 6: "complex"}
_PALETTE = 3
_ASSOCIATED, _UNASSOCIATED = 1, 2


@dataclass(frozen=True)
class _Field:
    values: Sequence[int]
    at: int  # where the first value stands in the file, in bytes


def matches(data: bytes) -> bool:
    """Whether `data` starts like a TIFF."""
    return data.startswith(_STARTS)


def read(data: bytes) -> ImageHeader:
    """The header of the first image.

    Raises:
        TileError: when the directory or a strip or tile lies behind the end of the file, or the size is missing.
    """
    fields = _directory(data)
    if _WIDTH not in fields or _HEIGHT not in fields:
        raise damaged("TIFF", "its directory holds no image size")
    for offsets, counts in (_STRIPS, _TILES):
        _check_inside(_values(fields, offsets, ()), _values(fields, counts, ()), len(data))
    channels = 3 if _values(fields, _PHOTOMETRIC, (1,))[0] == _PALETTE else _values(fields, _SAMPLES, (1,))[0]
    bits, extra = max(_values(fields, _BITS, (1,))), _values(fields, _EXTRA, ())
    return ImageHeader(
        "TIFF",
        (fields[_HEIGHT].values[0], fields[_WIDTH].values[0]),
        channels,
        bits,
        _KINDS.get(_values(fields, _FORMAT, (1,))[0], "unsigned"),
        straight_alpha=bits == 8 and channels == 4 and list(extra) == [_UNASSOCIATED],
    )


def with_associated_alpha(data: bytes) -> bytes:
    """A copy that calls its alpha channel associated, pixels unchanged.

    libtiff multiplies the colours by an unassociated alpha before OpenCV drops it, which would darken them.
    """
    copy, at = bytearray(data), _directory(data)[_EXTRA].at
    struct.pack_into(_order(data) + "H", copy, at, _ASSOCIATED)
    return bytes(copy)


def _values(fields: dict[int, _Field], tag: int, absent: Sequence[int]) -> Sequence[int]:
    return fields[tag].values if tag in fields else absent


def _check_inside(offsets: Sequence[int], counts: Sequence[int], length: int) -> None:
    if any(offset + count > length for offset, count in zip(offsets, counts, strict=False)):
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
        found = (_entry(data, order, number, first + i * entry_size) for i in range(min(entries, 4096)))
        return {tag: field for tag, field in found if field is not None}
    except (struct.error, OverflowError):
        raise cut_off("TIFF") from None


def _entry(data: bytes, order: str, number: str, at: int) -> tuple[int, _Field | None]:
    tag, kind, count = struct.unpack_from(order + "HH" + number, data, at)
    if tag not in _WANTED or kind not in _TYPES or not count > 0:
        return tag, None
    at += 4 + struct.calcsize(number)
    if struct.calcsize(_TYPES[kind]) * count > struct.calcsize(number):
        (at,) = struct.unpack_from(order + number, data, at)
    if at + struct.calcsize(_TYPES[kind]) * count > len(data):
        raise cut_off("TIFF")
    return tag, _Field(struct.unpack_from(f"{order}{count}{_TYPES[kind]}", data, at), at)
