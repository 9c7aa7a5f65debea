"""What is decided of a large image, kept on the disk while it is run, so that a run that died goes on inside of the image.

A file with a hidden name beside the mask: a line of JSON that tells which image it is of, then a record a strip of the mask. A record
counts when its head's checksum is right and all of its bytes are there, so what a kill left half written is cut off. Its
pixels have a checksum of their own, which is looked at when they are read again.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.deflate import deflated
from dlcv.runtime.errors import TileError, reason_of
from dlcv.runtime.files import hidden_name, remove_file
from dlcv.runtime.raster.last_out import LastOut
from dlcv.runtime.raster.sureness import Levels

KEPT_SUFFIX = ".kept"
_HEAD = struct.Struct("<IQQIqqq")
"""First row, bytes of the classes and of the confidence, checksum of both; of the confidence: see `Levels`."""
_SUM = struct.Struct("<I")
_AGAIN = "it was removed, run the image again"


@dataclass(frozen=True)
class KeptOf:
    """What the rows are of; those of anything else are thrown away.

    Attributes:
        size, mtime_ns: of the image's file.
        height, width: in pixels.
        strip_rows: in a strip, but for the last.
        sure: whether the confidence is kept, too.
        made_by: a hash of engine and settings.
    """

    size: int
    mtime_ns: int
    height: int
    width: int
    strip_rows: int
    sure: bool
    made_by: str


class KeptRows:
    """The strips of one image; `keep` may be called from several threads. A disk that takes no more of it does not end the run.

    Args:
        mask_path: beside which it stands.
        of: see there.
        resume: go on with what is there; else it is thrown away.

    Attributes:
        found: the first rows of the strips that an earlier run kept.
    """

    def __init__(self, mask_path: Path, of: KeptOf, *, resume: bool) -> None:
        self.path, self._of = hidden_name(mask_path, KEPT_SUFFIX), of
        self._places: dict[int, int] = {}
        self._file: IO[bytes] | None = None
        self._takes_more = self._remove = False
        self._using = LastOut(self._let_go)
        if not resume:
            remove_file(self.path)
        try:
            self._file = open(self.path, "a+b")  # noqa: SIM115 - open as long as the image is run
            self._begin(self._file)
            self._takes_more = True
        except OSError:
            self._places.clear()
            self._remove = True
            self._let_go()

    @property
    def found(self) -> frozenset[int]:
        """See the class."""
        return frozenset(self._places)

    def forget(self, top: int) -> None:
        """One of those found is going to be made again."""
        del self._places[top]

    def keep(self, top: int, index: NDArray[np.uint8], levels: Levels | None) -> None:
        """A strip that is decided: classes, uint8 (h, W), and their confidence.

        Raises:
            TileError: after `close`.
        """
        classes = deflated(np.ascontiguousarray(index).data)
        sure = b"" if levels is None else deflated(np.ascontiguousarray(levels.levels).data)
        sums = (0, 0, 0) if levels is None else (levels.pixels, levels.total, levels.below)
        head = _HEAD.pack(top, len(classes), len(sure), zlib.crc32(sure, zlib.crc32(classes)), *sums)
        with self._using:
            if self._file is None or not self._takes_more:
                return
            try:
                self._file.write(b"".join((head, _SUM.pack(zlib.crc32(head)), classes, sure)))
                self._file.flush()
            except OSError:  # the run does not need it, and what was found is wanted still
                self._takes_more = False

    def strips(self) -> Iterator[tuple[int, NDArray[np.uint8], Levels | None]]:
        """Those found: first row, and as `keep` had them.

        Raises:
            TileError: when one is not what was written.
        """
        for top, place in sorted(self._places.items()):
            with self._using:
                classes, sure, sums = self._read(place)
            yield top, self._pixels(classes, top), Levels(self._pixels(sure, top), *sums) if self._of.sure else None

    def close(self, *, keep: bool) -> None:
        """Lets the file go; removes it, unless it is to be gone on with."""
        self._remove = not keep
        self._using.end()

    def _begin(self, file: IO[bytes]) -> None:
        """Takes what is there, where it is of this image, and cuts off what is not whole."""
        first = json.dumps({"dlcv": 1} | asdict(self._of)).encode() + b"\n"
        end = file.seek(0, 2)
        file.seek(0)
        if end and file.read(len(first)) == first:
            file.truncate(self._look(file, len(first), end))
            return
        file.truncate(0)
        file.write(first)
        file.flush()

    def _look(self, file: IO[bytes], place: int, end: int) -> int:
        """Finds the records from here on; where the last whole one ends."""
        while True:
            file.seek(place)
            head = file.read(_HEAD.size + _SUM.size)
            if (
                len(head) < _HEAD.size + _SUM.size
                or zlib.crc32(head[: _HEAD.size]) != _SUM.unpack(head[_HEAD.size :])[0]
            ):
                return place
            top, classes, sure = _HEAD.unpack(head[: _HEAD.size])[:3]
            behind = place + len(head) + classes + sure
            if behind > end or top % self._of.strip_rows or top >= self._of.height:
                return place
            self._places[top] = place
            place = behind

    def _read(self, place: int) -> tuple[bytes, bytes, tuple[int, int, int]]:
        """A record's compressed classes and confidence, and the sums of that."""
        try:
            assert self._file is not None, "it was found in it"
            self._file.seek(place)
            _, classes, sure, checksum, *sums = _HEAD.unpack(self._file.read(_HEAD.size))
            self._file.seek(_SUM.size, 1)
            data = self._file.read(classes + sure)
        except (OSError, struct.error) as error:
            raise TileError(f"what an earlier run kept of it cannot be read: {reason_of(error)}; {_AGAIN}") from error
        if len(data) != classes + sure or zlib.crc32(data) != checksum:
            raise TileError(f"what an earlier run kept of it is damaged; {_AGAIN}")
        return data[:classes], data[classes:], (sums[0], sums[1], sums[2])

    def _pixels(self, data: bytes, top: int) -> NDArray[np.uint8]:
        shape = (min(self._of.strip_rows, self._of.height - top), self._of.width)
        size = shape[0] * shape[1]
        try:
            values = zlib.decompressobj().decompress(data, size + 1)
        except zlib.error as error:
            raise TileError(f"what an earlier run kept of it is damaged: {error}; {_AGAIN}") from error
        if len(values) != size:
            raise TileError(f"what an earlier run kept of it is damaged; {_AGAIN}")
        return np.frombuffer(values, np.uint8).reshape(shape)

    def _let_go(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
        if self._remove:
            remove_file(self.path)
