"""`manifest.csv`: a row a tile as the run goes; output and journal in one (see `journal.py`)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from dlcv.runtime.files import write_bytes
from dlcv.runtime.records.journal import Journal, csv_line, csv_rows, csv_values, forget_lines, whole_lines
from dlcv.runtime.tiles.tile_list import Fingerprint

COLUMNS = ("path", "status", "output", "reason", "size", "mtime_ns", "output_size", "beside_size")
OLDER = (COLUMNS[:4], COLUMNS[:6])
"""What manifests of earlier releases have; they are read, and brought to `COLUMNS` when a run goes on with them."""
DONE, FAILED = "done", "failed"
_HEADER = csv_line(COLUMNS)


class Row(NamedTuple):
    """What became of a tile.

    Attributes:
        path: the tile's key (see `tiles.py`).
        status: `done` or `failed`.
        output: the file that holds the answer, by its path below the output folder; empty when failed.
        reason: why it failed, a sentence; empty when done.
        tile: what the file was just before it was read; None where that is not known. Columns `size` and `mtime_ns`.
        output_size: bytes of the output when it was written; None where that is not known, or the output is a table of all tiles.
        beside_size: bytes of all files that belong to the tile beside its output; None where that is not known, or there are none.
    """

    path: str
    status: str
    output: str = ""
    reason: str = ""
    tile: Fingerprint | None = None
    output_size: int | None = None
    beside_size: int | None = None


class Manifest(Journal):
    """Appends rows to `manifest.csv`; use it as a context manager. `add` is called from one thread.

    Args:
        path: of the file; it is made with a header, or continued.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, _HEADER)

    def __enter__(self) -> Manifest:
        _bring_up_to_date(self._path)
        return super().__enter__()

    def add(self, row: Row) -> None:
        """Writes a row and hands it to the operating system at once.

        Raises:
            OutputError: when it cannot be written.
        """
        numbers = (*(row.tile or (None, None)), row.output_size, row.beside_size)
        texts = ("" if number is None else str(number) for number in numbers)
        self.append(csv_line((row.path, row.status, row.output, row.reason, *texts)))


def read_manifest(path: Path) -> Iterator[Row]:
    """The whole rows of a manifest, in order; a torn last row is left out. An empty file has none.

    Raises:
        OutputError: when the file cannot be read or is no manifest.
    """
    for values in csv_rows(path, COLUMNS, "a manifest", OLDER):
        try:
            key, status, output, reason, size, mtime_ns, written, beside = values
            tile = tuple.__new__(Fingerprint, (int(size), int(mtime_ns)))  # its class, and Row, take twice as long
            sizes = int(written) if written else None, int(beside) if beside else None
            row = tuple.__new__(Row, (key, status, output, reason, tile, *sizes))
        except ValueError:  # an older manifest has less, and nothing is known of a tile that was not there
            key, status, output, reason, *numbers = values
            known = [_number(text) for text in (*numbers, "", "", "", "")]
            was = None if known[0] is None or known[1] is None else Fingerprint(known[0], known[1])
            row = Row(key, status, output, reason, was, known[2], known[3])
        yield row


def forget(path: Path, tiles: Collection[str]) -> None:
    """Takes the rows of some tiles out, because they are run again and a tile has one row.

    Raises:
        OutputError: when the file cannot be read or written; it is as it was then.
    """
    _bring_up_to_date(path)
    forget_lines(path, _HEADER, tiles, _key)


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _key(line: str) -> str | None:
    values = csv_values(line)
    return values[0] if len(values) == len(COLUMNS) and tuple(values) != COLUMNS else None


def _bring_up_to_date(path: Path) -> None:
    """Gives a manifest of an earlier release the columns of this one, all at once; another file stays as it is."""
    if not path.exists():
        return
    columns = tuple(csv_values(next(whole_lines(path), "")))
    if columns in OLDER:
        _, *lines = whole_lines(path)
        empty = "," * (len(COLUMNS) - len(columns)) + "\n"
        write_bytes(path, "".join([_HEADER, *(line.rstrip("\n") + empty for line in lines)]).encode())
