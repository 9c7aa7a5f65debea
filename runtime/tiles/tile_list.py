"""Tiles in little memory: names are kept packed, and a `Tile` is made when it is asked for.

A folder may hold a million tiles, whose names as Python's strings take 350 bytes each. Here a few hundred of one folder lie in a row, as
UTF-8 and compressed: names of the tiles of one flight differ in some digits, and take 5 to 10 bytes then; names without any likeness take
little more than their letters.
"""

from __future__ import annotations

import os
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import compress, groupby, islice
from pathlib import Path
from typing import NamedTuple, overload

from dlcv.runtime.tiles.urls import is_url, state_of

CHUNK = 512
"""Names that are packed together: enough of them to be alike, few enough to be unpacked for one."""
RUN = 1 << 14
"""Names that are sorted at once, the most that a listing holds as strings: 2 MB."""
_LINK, _LARGE = 1, 2
_MARK = "\0"
"""Behind a name, as often as the sum of what it is; no name of a file holds it, and names in order stay so, since nothing is less."""


class Fingerprint(NamedTuple):
    """What tells that a file is not what it was: it was written, or another one took its place.

    Attributes:
        size: in bytes.
        mtime_ns: when it was last written, by the clock of whoever wrote it, in nanoseconds.
    """

    size: int
    mtime_ns: int


@dataclass(init=False, slots=True, unsafe_hash=True)
class Tile:
    """A tile to be run. Nobody changes one; it is not frozen because that takes thrice as long to make, and a run makes each several times.

    Attributes:
        where: where it is, as it was named or found: a path or a URL; given as a Path or as a string, kept as a string.
        key: its path inside the folder that was named, with forward slashes; of a file named itself, its file name.
            It identifies the tile in the manifest, and the output's name is made from it alone.
        plain: True where the folder's listing says that it is no symbolic link.
        large: it is read by windows and its mask is a GeoTIFF; see `large/`.
    """

    where: str
    key: str
    plain: bool = field(default=False, compare=False, repr=False)
    large: bool = False

    def __init__(self, path: str | Path, key: str, plain: bool = False, large: bool = False) -> None:
        self.where = os.fspath(path)
        self.key = key
        self.plain = plain
        self.large = large

    @property
    def path(self) -> Path:
        """`where` as a Path; not for a URL."""
        return Path(self.where)

    def fingerprint(self) -> Fingerprint | None:
        """What the file is now, links followed; None where it cannot be asked."""
        return fingerprint_of(self.where)


def fingerprint_of(where: str) -> Fingerprint | None:
    """What a file, or what a URL names, is now, links followed; None where it cannot be asked."""
    if is_url(where):
        found = state_of(where)
        return None if found is None else Fingerprint(*found)
    try:
        facts = os.stat(where)
    except (OSError, ValueError):  # ValueError: a name with a NUL
        return None
    return Fingerprint(facts.st_size, facts.st_mtime_ns)


class _Chunk(NamedTuple):
    """Some names that follow each other: what stands before each in `where` and in `key`, and the names, packed."""

    where: str
    key: str
    names: bytes


class TileList(Sequence[Tile]):
    """Tiles in their order, packed; going through it makes each anew.

    Args:
        tiles: any; those of one folder that follow each other are packed together.
    """

    def __init__(self, tiles: Iterable[Tile] = ()) -> None:
        self._chunks: list[_Chunk] = []
        self._ends: list[int] = []
        self.extend(tiles)

    def extend(self, tiles: Iterable[Tile]) -> None:
        """Puts tiles behind those that are there."""
        for (where, key), alike in groupby(map(_split, tiles), lambda parts: parts[:2]):
            self.add(where, key, (name for _, _, name in alike))

    def add(self, where: str, key: str, names: Iterable[str]) -> None:
        """Puts tiles of one folder behind those that are there.

        Args:
            where: what stands before each name in `Tile.where`.
            key: what stands before each name in `Tile.key`.
            names: without `/`; see `marked`.
        """
        rest = iter(names)
        while some := list(islice(rest, CHUNK)):
            self._chunks.append(_Chunk(where, key, _packed(some)))
            self._ends.append(len(self) + len(some))

    def kept(self, which: Iterable[object]) -> TileList:
        """Those for which `which` tells something true, a value a tile."""
        return TileList(compress(self, which))

    def parts(self) -> Iterator[tuple[str, str, str]]:
        """In the list's order, of some tiles at a time: what stands before their names in `Tile.where`, and in `Tile.key`, and the names as
        `marked` gives them, with `/` between; quicker than each tile by itself.
        """
        for where, key, names in self._chunks:
            yield where, key, _text(names)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[Tile]:
        for chunk in self._chunks:
            yield from _tiles(chunk)

    @overload
    def __getitem__(self, index: int) -> Tile: ...

    @overload
    def __getitem__(self, index: slice) -> list[Tile]: ...

    def __getitem__(self, index: int | slice) -> Tile | list[Tile]:
        if isinstance(index, slice):
            return list(self)[index] if index.step else list(islice(self, *index.indices(len(self))[:2]))
        at = range(len(self))[index]
        number = bisect_right(self._ends, at)
        return _tiles(self._chunks[number])[at - (self._ends[number - 1] if number else 0)]

    def __eq__(self, other: object) -> bool:
        return len(self) == len(other) and list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]


def marked(name: str, *, plain: bool, large: bool = False) -> str:
    """A name with what is known of its tile; marked names are in the order of the names."""
    marks = (0 if plain else _LINK) + (_LARGE if large else 0)
    return name + _MARK * marks if marks else name


def unmarked(name: str) -> str:
    """The name alone."""
    return name.rstrip(_MARK)


def in_order(names: Iterable[str]) -> Iterator[str]:
    """All names, sorted. A few thousand are held as strings at a time, and the others packed: a listing comes in no order."""
    rest, runs = iter(names), []  # type: Iterator[str], list[list[bytes]]
    while run := sorted(islice(rest, RUN)):
        if not runs and len(run) < RUN:
            yield from run
            return
        runs.append([_packed(run[start : start + CHUNK]) for start in range(0, len(run), CHUNK)])
    yield from merge(*map(_each, runs))


def _each(packed: Iterable[bytes]) -> Iterator[str]:
    for names in packed:
        yield from _text(names).split("/")


def _packed(names: Sequence[str]) -> bytes:
    return zlib.compress("/".join(names).encode("utf-8", "surrogatepass"), 1)


def _text(names: bytes) -> str:
    return zlib.decompress(names).decode("utf-8", "surrogatepass")


def _tiles(chunk: _Chunk) -> list[Tile]:
    where, key, packed = chunk
    text = _text(packed)
    if _MARK not in text:
        return [Tile(where + name, key + name, True) for name in text.split("/")]
    return [_tile(where, key, name) for name in text.split("/")]


def _tile(where: str, key: str, name: str) -> Tile:
    file, marks = unmarked(name), name.count(_MARK)
    return Tile(where + file, key + file, not marks & _LINK, bool(marks & _LARGE))


def _split(tile: Tile) -> tuple[str, str, str]:
    """What stands before the name in `where` and in `key`, and the marked name: what both end in."""
    name = tile.key.rpartition("/")[2]
    if _MARK in name or not tile.where.endswith(name):  # a file that nobody can have, or another name at a URL
        name = ""
    cut = len(name)
    where, key = (tile.where[:-cut], tile.key[:-cut]) if cut else (tile.where, tile.key)
    return where, key, marked(name, plain=tile.plain, large=tile.large)
