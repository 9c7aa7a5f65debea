"""`manifest.csv`: a row a tile as the run goes; output and journal in one (see `journal.py`)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from dlcv.runtime.journal import Journal, csv_line, csv_rows, csv_values, forget_lines

COLUMNS = ("path", "status", "output", "reason")
DONE, FAILED = "done", "failed"
_HEADER = csv_line(COLUMNS)


class Row(NamedTuple):
    """What became of a tile.

    Attributes:
        path: the tile's key (see `tiles.py`).
        status: `done` or `failed`.
        output: the file that holds the answer, by its path below the output folder; empty when failed.
        reason: why it failed, a sentence; empty when done.
    """

    path: str
    status: str
    output: str = ""
    reason: str = ""


class Manifest(Journal):
    """Appends rows to `manifest.csv`; use it as a context manager. `add` is called from one thread.

    Args:
        path: of the file; it is made with a header, or continued.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, _HEADER)

    def add(self, row: Row) -> None:
        """Writes a row and hands it to the operating system at once.

        Raises:
            OutputError: when it cannot be written.
        """
        self.append(csv_line((row.path, row.status, row.output, row.reason)))


def read_manifest(path: Path) -> Iterator[Row]:
    """The whole rows of a manifest, in order; a torn last row is left out. An empty file has none.

    Raises:
        OutputError: when the file cannot be read or is no manifest.
    """
    for values in csv_rows(path, COLUMNS, "a manifest"):
        yield Row(*values)


def forget(path: Path, tiles: Collection[str]) -> None:
    """Takes the rows of some tiles out, because they are run again and a tile has one row.

    Raises:
        OutputError: when the file cannot be read or written; it is as it was then.
    """
    forget_lines(path, _HEADER, tiles, _key)


def _key(line: str) -> str | None:
    values = csv_values(line)
    return values[0] if len(values) == len(COLUMNS) and tuple(values) != COLUMNS else None
