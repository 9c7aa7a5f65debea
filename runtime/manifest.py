"""`manifest.csv`: a row a tile as the run goes; output and journal in one.

A row is one physical line: control characters, line breaks and backslashes in file names are written as escapes, bytes that
are not UTF-8 as surrogate escapes (`\\udcff`), so that a last row torn by a crash is known by its missing line end and
dropped on resume.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from dlcv.runtime.errors import OutputError
from dlcv.runtime.files import write_bytes

COLUMNS = ("path", "status", "output", "reason")
DONE, FAILED = "done", "failed"


@dataclass(frozen=True)
class Row:
    """What became of a tile.

    Attributes:
        path: the tile's key (see `tiles.py`).
        status: `done` or `failed`.
        output: the mask's path below the output folder; empty when failed.
        reason: why it failed, a sentence; empty when done.
    """

    path: str
    status: str
    output: str = ""
    reason: str = ""


def escape(text: str) -> str:
    """`text` with backslashes and all that is not printable as backslash escapes; `unescape` gives it back."""
    return "".join(
        c if c.isprintable() and c != "\\" else c.encode("unicode_escape", "backslashreplace").decode("ascii")
        for c in text
    )


def unescape(text: str) -> str:
    """The inverse of `escape`."""
    if "\\" not in text:
        return text
    return text.encode("ascii", "backslashreplace").decode("unicode_escape")


class Manifest:
    """Appends rows to `manifest.csv`; use it as a context manager. `add` is called from one thread.

    Args:
        path: of the file; it is made with a header, or continued.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: io.TextIOWrapper | None = None

    def __enter__(self) -> Manifest:
        try:
            _drop_torn_row(self._path)
            new = not self._path.exists() or self._path.stat().st_size == 0
            self._file = open(self._path, "a", encoding="utf-8", newline="")
            if new:
                self._write(COLUMNS)
        except OSError as error:
            raise OutputError(f"cannot write {self._path}: {error.strerror or error}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            try:
                self._file.close()
            except OSError as failure:
                raise OutputError(f"cannot write {self._path}: {failure.strerror or failure}") from failure

    def add(self, row: Row) -> None:
        """Writes a row and hands it to the operating system at once.

        Raises:
            OutputError: when it cannot be written.
        """
        try:
            self._write(_escaped(row))
        except OSError as error:
            raise OutputError(f"cannot write {self._path}: {error.strerror or error}") from error

    def _write(self, values: tuple[str, ...]) -> None:
        assert self._file is not None, "a manifest is used inside `with`"
        self._file.write(_line(values))
        self._file.flush()


def read_manifest(path: Path) -> Iterator[Row]:
    """The whole rows of a manifest, in order; a torn last row is left out. An empty file has none.

    Raises:
        OutputError: when the file cannot be read or is no manifest.
    """
    try:
        with open(path, "rb") as file:  # bytes, because a row may be torn inside a character
            rows = csv.reader(line.decode() for line in file if line.endswith(b"\n"))
            if next(rows, list(COLUMNS)) != list(COLUMNS):
                raise OutputError(f"{path} is not a manifest of dlcv-infer; expected the columns {', '.join(COLUMNS)}")
            for values in rows:
                if len(values) == len(COLUMNS):
                    yield Row(*(unescape(v) for v in values))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OutputError(f"cannot read {path}: {error}; start again with --overwrite") from error


def forget(path: Path, tiles: Collection[str]) -> None:
    """Takes the rows of some tiles out, because they are run again and a tile has one row.

    Raises:
        OutputError: when the file cannot be read or written; it is as it was then.
    """
    rows = {row.path: row for row in read_manifest(path)}
    kept = [row for row in rows.values() if row.path not in tiles]
    write_bytes(path, "".join(map(_line, (COLUMNS, *map(_escaped, kept)))).encode())


def _escaped(row: Row) -> tuple[str, ...]:
    return tuple(escape(v) for v in (row.path, row.status, row.output, row.reason))


def _line(values: tuple[str, ...]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()


def _drop_torn_row(path: Path) -> None:
    """Cuts what stands behind the last line end."""
    if not path.exists():
        return
    with open(path, "rb+") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - (1 << 20)))
        tail = file.read()
        file.truncate(size - len(tail) + tail.rfind(b"\n") + 1)
