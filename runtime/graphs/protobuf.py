"""The wire format of protocol buffers, walked field by field in a file that need not be trusted; nothing is loaded whole.

Every length is held against the end of the message that it stands in, and both the number of fields and the text that is
kept are bounded, so that no file makes the walk long or large. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_MAX_FIELDS = 500_000
"""Of a large network's graph some ten thousand; this many take seconds."""
_MAX_TEXT = 1 << 25
_WINDOW = 1 << 16
_FIXED = {FIXED64: 8, FIXED32: 4}


class WireError(ValueError):
    """The bytes are not a protocol buffer, are cut short, or pass a bound; says which."""


@dataclass(frozen=True)
class Field:
    """One field of a message.

    Attributes:
        number: of the field, from 1.
        wire: its wire type.
        value: of a varint, unsigned; 0 elsewhere.
        start: in the file, of what is no varint, in bytes.
        end: likewise.
    """

    number: int
    wire: int
    value: int
    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start


class Wire:
    """Reads messages out of a file by their position.

    Args:
        file: opened for binary reading, seekable.
        size: of the file, in bytes.
    """

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self.size = file, size
        self._window, self._window_at = b"", 0
        self._fields_left, self._text_left = _MAX_FIELDS, _MAX_TEXT

    def fields(self, start: int, end: int) -> Iterator[Field]:
        """The fields of the message from byte `start` to byte `end`.

        Raises:
            WireError: when a field reaches beyond the message, or there are too many.
        """
        at = start
        while at < end:
            self._fields_left -= 1
            if self._fields_left < 0:
                raise WireError(f"it has more than {_MAX_FIELDS} fields")
            tag, at = self._varint(at, end)
            number, wire = tag >> 3, tag & 7
            if number == 0:
                raise WireError(f"a field without a number before byte {at}")
            if wire == VARINT:
                value, at = self._varint(at, end)
                yield Field(number, wire, value, at, at)
                continue
            length = _FIXED.get(wire, -1)
            if wire == BYTES:
                length, at = self._varint(at, end)
            if length < 0 or at + length > end:
                raise WireError(f"a field at byte {at} reaches beyond its message")
            yield Field(number, wire, 0, at, at + length)
            at += length

    def text(self, field: Field, limit: int = 4096) -> str:
        """A field as text; what is no UTF-8 is replaced.

        Raises:
            WireError: when it is no text, longer than `limit` bytes, or all texts together are too long.
        """
        return self.content(field, limit).decode("utf-8", "replace")

    def content(self, field: Field, limit: int = 4096) -> bytes:
        """A field's bytes.

        Raises:
            WireError: as `text`.
        """
        if field.wire != BYTES or field.size > limit:
            raise WireError(f"a name at byte {field.start} is not a text of at most {limit} bytes")
        self._text_left -= field.size
        if self._text_left < 0:
            raise WireError(f"its names are longer than {_MAX_TEXT} bytes together")
        return self._bytes(field.start, field.end)

    def integers(self, field: Field, limit: int = 64) -> list[int]:
        """A repeated int64, packed or not.

        Raises:
            WireError: when there are more than `limit`.
        """
        if field.wire == VARINT:
            return [signed(field.value)]
        values, at = [], field.start
        while at < field.end:
            value, at = self._varint(at, field.end)
            values.append(signed(value))
            if len(values) > limit or field.wire != BYTES:
                raise WireError(f"a list of numbers at byte {field.start} is longer than {limit}")
        return values

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        place = at - self._window_at
        if 0 <= place < len(self._window) and at < end and self._window[place] < 0x80:  # most: small, and read already
            return self._window[place], at + 1
        value, data = 0, self._bytes(at, min(at + 10, end))
        for index, byte in enumerate(data):
            value |= (byte & 0x7F) << 7 * index
            if not byte & 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, at + index + 1
        raise WireError(f"a number at byte {at} does not end")

    def _bytes(self, start: int, end: int) -> bytes:
        if not self._window_at <= start <= end <= self._window_at + len(self._window):
            self._file.seek(start)
            self._window, self._window_at = self._file.read(max(_WINDOW, end - start)), start
        found = self._window[start - self._window_at : end - self._window_at]
        if len(found) != end - start:
            raise WireError("it became shorter while it was read")
        return found


def signed(value: int) -> int:
    """An int64 from its varint."""
    return value - (1 << 64) if value >> 63 else value
