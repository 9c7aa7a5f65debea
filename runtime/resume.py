"""What of an earlier run still holds: a tile is run again when it is not the file that was answered.

The manifest tells of each tile what it was just before it was read. Comparing that with what the file is now needs no clock: a
tile that was replaced by an older file, or written while the run went on, is found, and one whose time lies in the future is
not run for ever.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from dlcv.runtime.manifest import Row
from dlcv.runtime.tiles import Fingerprint, Looks, Tile


class FilesThere:
    """The files below a folder, for `in`; each folder is listed once, since asking for each file takes longer.

    Args:
        folder: paths are given below it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._listed = os.fspath(folder), dict[str, set[str]]()

    def __contains__(self, path: str) -> bool:
        where, _, name = path.rpartition("/")
        if where not in self._listed:
            try:
                with os.scandir(os.path.join(self._folder, where)) as entries:
                    self._listed[where] = {entry.name for entry in entries if entry.is_file()}
            except (OSError, ValueError):  # ValueError: a NUL in what somebody wrote into a manifest
                self._listed[where] = set()
        return name in self._listed[where]


def unchanged(
    tiles: Iterable[Tile], rows: Mapping[str, Row], folder: Path, looks: Looks | None = None
) -> dict[str, str]:
    """The tiles that are the files that were answered: output by key.

    Args:
        tiles: all that were asked for.
        rows: of the tiles that are done, by key. Where one does not tell what the tile was, because an earlier release wrote it,
            the tile may not be newer than the output.
        folder: of the outputs.
        looks: what was asked about the files already.
    """
    looks, found = looks or Looks(), {}
    for tile in tiles:
        row = rows.get(tile.key)
        if row is not None and _holds(looks.at(tile), row, folder):
            found[tile.key] = row.output
    return found


def _holds(now: Fingerprint | None, row: Row, folder: Path) -> bool:
    if now is None:
        return False
    if row.tile is not None:
        return row.tile == now
    try:
        return now.mtime_ns <= os.stat(folder / row.output).st_mtime_ns
    except OSError:
        return False
