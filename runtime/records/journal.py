"""Text files that only grow, a line a tile, and survive a crash: what `manifest.csv` and `predictions.csv` have in common.

A row is one physical line: control characters, line breaks and backslashes in file names are written as escapes, bytes that
are not UTF-8 as surrogate escapes (`\\udcff`), so that a last row torn by a crash is known by its missing line end and
dropped on resume.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from dlcv.runtime.errors import OutputError
from dlcv.runtime.files import write_bytes

J = TypeVar("J", bound="Journal")


class Journal:
    """Appends lines to a text file; use it as a context manager. `append` is called from one thread.

    Args:
        path: of the file; it is made with its header, or continued behind its last whole line.
        header: its first line with the line end; empty for none.
    """

    def __init__(self, path: Path, header: str = "") -> None:
        self._path, self._header = path, header
        self._file: io.TextIOWrapper | None = None

    def __enter__(self: J) -> J:
        try:
            _drop_torn_line(self._path)
            new = not self._path.exists() or self._path.stat().st_size == 0
            self._file = open(self._path, "a", encoding="utf-8", newline="")
            if new:
                self._write(self._header)
        except OSError as error:
            raise self._refused(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            try:
                self._file.close()
            except OSError as failure:
                raise self._refused(failure) from failure

    def append(self, line: str) -> None:
        """Writes a line, its line end included, and hands it to the operating system at once.

        Raises:
            OutputError: when it cannot be written.
        """
        try:
            self._write(line)
        except OSError as error:
            raise self._refused(error) from error

    def _write(self, text: str) -> None:
        assert self._file is not None, "a journal is used inside `with`"
        self._file.write(text)
        self._file.flush()

    def _refused(self, error: OSError) -> OutputError:
        return OutputError(f"cannot write {self._path}: {error.strerror or error}")


def whole_lines(path: Path) -> Iterator[str]:
    """The lines of a journal with their line ends; a torn last one is left out.

    Raises:
        OutputError: when the file cannot be read, or is not UTF-8.
    """
    try:
        with open(path, "rb") as file:  # bytes, because a line may be torn inside a character
            for line in file:
                if line.endswith(b"\n"):
                    yield line.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error) from error


def is_torn(path: Path) -> bool:
    """Whether a journal's last line lacks its end.

    Raises:
        OutputError: when the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            if not file.seek(0, os.SEEK_END):
                return False
            file.seek(-1, os.SEEK_END)
            return file.read() != b"\n"
    except OSError as error:
        raise unreadable(path, error) from error


def forget_lines(path: Path, header: str, keys: Collection[str], key_of: Callable[[str], str | None]) -> None:
    """Takes the lines of some tiles out, because they are run again and a tile has one row.

    Of several lines with one key the last is kept; a line without a key goes too. Where all that stays, nothing is written,
    and the file keeps its time.

    Args:
        path: of the journal.
        header: its first line, which stays.
        keys: of the tiles.
        key_of: a line -> its tile's key; None for what is no row.

    Raises:
        OutputError: when the file cannot be read or written; it is as it was then.
    """
    lines = list(whole_lines(path))
    rows = {key: line for line in lines if line != header and (key := key_of(line)) is not None}
    kept = [*([header] if header else []), *(line for key, line in rows.items() if key not in keys)]
    if kept != lines:
        write_bytes(path, "".join(kept).encode())


def csv_line(values: Iterable[str]) -> str:
    """Values as one physical line of CSV, each escaped."""
    escaped = [escape(value) for value in values]
    plain = ",".join(escaped)
    if '"' not in plain and plain.count(",") == len(escaped) - 1 > 0:  # nothing to quote, so a third of the time
        return plain + "\n"
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(escaped)
    return line.getvalue()


def csv_values(line: str) -> list[str]:
    """The inverse of `csv_line`; empty for what is no line of CSV."""
    if '"' not in line and "\\" not in line:  # nothing is quoted or escaped
        text = line.rstrip("\r\n")
        return text.split(",") if text else []
    try:
        return [unescape(value) for value in next(csv.reader([line]), [])]
    except csv.Error:
        return []


def csv_rows(
    path: Path, columns: Sequence[str], what: str, older: Collection[tuple[str, ...]] = ()
) -> Iterator[list[str]]:
    """The whole rows of a CSV journal behind its header, in order. A file without a whole line has none.

    Args:
        path: of the journal.
        columns: that its rows have.
        what: it is, in words.
        older: columns that `what` had in earlier releases; rows of such a file have as many values.

    Raises:
        OutputError: when the file cannot be read, or has other columns.
    """
    lines = whole_lines(path)
    found = tuple(csv_values(next(lines, csv_line(columns))))
    if found != tuple(columns) and found not in older:
        raise OutputError(f"{path} is not {what} of dlcv-infer; expected the columns {', '.join(columns)}")
    for line in lines:
        values = csv_values(line)
        if len(values) == len(found):
            yield values


def escape(text: str) -> str:
    """`text` with backslashes and all that is not printable as backslash escapes; `unescape` gives it back."""
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(
        c if c.isprintable() and c != "\\" else c.encode("unicode_escape", "backslashreplace").decode("ascii")
        for c in text
    )


def unescape(text: str) -> str:
    """The inverse of `escape`; a text that is none is given back as it is."""
    if "\\" not in text:
        return text
    try:
        return text.encode("ascii", "backslashreplace").decode("unicode_escape")
    except UnicodeDecodeError:
        return text


def unreadable(path: Path, error: Exception) -> OutputError:
    """An `OutputError` on a journal that cannot be read."""
    return OutputError(f"cannot read {path}: {error}; start again with --overwrite")


def _drop_torn_line(path: Path) -> None:
    """Cuts what stands behind the last line end."""
    if not path.exists():
        return
    with open(path, "rb+") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - (1 << 20)))
        tail = file.read()
        if not tail.endswith(b"\n"):  # a file that is whole keeps its time
            file.truncate(size - len(tail) + tail.rfind(b"\n") + 1)
