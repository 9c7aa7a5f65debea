"""What of an earlier run still holds: a tile is run again when it is not the file that was answered.

The manifest tells of each tile what it was just before it was read. Comparing that with what the file is now needs no clock: a
tile that was replaced by an older file, or written while the run went on, is found, and one whose time lies in the future is
not run for ever.

It tells of each output, too, how many bytes it had. A file is renamed when all of it is with the operating system, so after `kill -9`
one that is there is whole; after a power cut a name and a row may be on the disk and the bytes not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dlcv.runtime.files import listing
from dlcv.runtime.records.manifest import Row
from dlcv.runtime.tiles.looks import Looks
from dlcv.runtime.tiles.tile_list import Fingerprint, Tile

PNG_END = b"\0\0\0\0IEND\xaeB`\x82"


class FilesThere:
    """The files below a folder, for `in`; each folder is listed once, since asking for each file takes longer.

    Args:
        folder: paths are given below it.
        sizes: whether `size` is going to be asked.
    """

    def __init__(self, folder: Path, sizes: bool = False) -> None:
        self._folder, self._sizes = os.fspath(folder), sizes
        self._listed: dict[str, dict[str, int]] = {}

    def __contains__(self, path: str) -> bool:
        where, _, name = path.rpartition("/")
        return name in (self._listed.get(where) or self._in(where))

    def size(self, path: str) -> int | None:
        """A file's bytes; None where it is not there."""
        where, _, name = path.rpartition("/")
        return (self._listed.get(where) or self._in(where)).get(name)

    def looks_whole(self, path: str) -> bool:
        """Whether a file whose size nobody noted has an end: a PNG its last chunk, any other at least a byte."""
        size = self.size(path)
        if not size or not path.endswith(".png"):
            return bool(size)
        try:
            with open(os.path.join(self._folder, path), "rb") as file:
                file.seek(max(0, size - len(PNG_END)))
                return file.read() == PNG_END
        except OSError:
            return False

    def _in(self, where: str) -> dict[str, int]:
        """Size by name; 0 where sizes are not wanted."""
        if where not in self._listed:
            found = self._listed[where] = {}
            # ValueError: a NUL in what somebody wrote into a manifest
            with suppress(OSError, ValueError), listing(os.path.join(self._folder, where)) as entries:
                for entry in entries:
                    try:
                        if entry.is_file():
                            found[entry.name] = entry.stat().st_size if self._sizes else 0
                    except OSError:  # removed since it was listed, or a link in a circle
                        continue
        return self._listed[where]


@dataclass
class Before:
    """What is there of an earlier run.

    Attributes:
        holds: output by the tile's key, of tiles that are the files that were answered and whose output is as it was written.
        damaged: likewise, where the output, or what stands beside it, is not: cut short, emptied, or another file.
        known: how many tiles were asked for of which there is a row.
    """

    holds: dict[str, str] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    known: int = 0


def before(
    tiles: Iterable[Tile],
    rows: Mapping[str, Row],
    folder: Path,
    looks: Looks | None = None,
    beside: Callable[[Tile], Sequence[str]] | None = None,
) -> Before:
    """Looks at each tile that is done.

    Args:
        tiles: all that were asked for.
        rows: of the tiles that are done, by key. Where one does not tell what the tile was, because an earlier release wrote it,
            the tile may not be newer than the output.
        folder: of the outputs.
        looks: what was asked about the files already.
        beside: what belongs to a tile beside its output, by its path below `folder`; None where outputs are rows of tables.
    """
    looks, there, found = looks or Looks(), FilesThere(folder, sizes=True), Before()
    for tile in tiles:
        key = tile.key
        row = rows.get(key)
        if row is None:
            continue
        found.known += 1
        _, _, output, _, was, output_size, beside_size = row
        size, now = there.size(output), looks.at(tile.where)
        if size is None or now is None or not (was == now if was is not None else _as_old(now, row, folder)):
            continue
        if (
            beside is None
            or (size == output_size and beside_size is None)
            or _as_written(row, size, there, beside(tile))
        ):
            found.holds[key] = output
        else:
            found.damaged[key] = output
    return found


def _as_written(row: Row, size: int, there: FilesThere, beside: Sequence[str]) -> bool:
    if row.output_size is None:
        return there.looks_whole(row.output) and all(map(there.looks_whole, beside))
    if size != row.output_size:
        return False
    return row.beside_size is None or sum(there.size(name) or 0 for name in beside) == row.beside_size


def _as_old(now: Fingerprint, row: Row, folder: Path) -> bool:
    try:
        return now.mtime_ns <= os.stat(folder / row.output).st_mtime_ns
    except OSError:
        return False
