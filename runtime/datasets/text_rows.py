"""Text files of others, line by line: a row is one physical line, and what is wrong is told with the file and the row.

Fields may be of any length: the limit of Python's `csv` module is one for the whole process, so it is not used to read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from dlcv.runtime.errors import DatasetError

_FIELD = re.compile(r'(?:"([^"]*(?:""[^"]*)*)"|([^",]*))(,|\Z)')
_BOM = b"\xef\xbb\xbf"
_SHOWN = 60  # characters of a cell, and
_LISTED = 12  # names, in a message


def text_rows(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file that are not blank, without their ends, each with its number from 1.

    Raises:
        DatasetError: when the file cannot be read, holds a NUL byte or is not UTF-8.
    """
    try:
        with open(path, "rb") as file:
            for row, line in enumerate(file, start=1):
                text = _decoded(line.removeprefix(_BOM) if row == 1 else line, path, row)
                if text.strip():
                    yield row, text
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror or error}") from error


def csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file, each with the number of its line; the first is the header, all others have as many fields.

    Raises:
        DatasetError: as `text_rows`; when the file is empty, a row has more or fewer fields, or a quote is not closed.
    """
    columns = 0
    for row, text in text_rows(path):
        fields = _split(text, path, row)
        columns = columns or len(fields)
        if len(fields) != columns:
            raise DatasetError(f"{path}, row {row}: {len(fields)} fields, expected {columns} as in the header")
        yield row, fields
    if not columns:
        raise DatasetError(f"{path} is empty; expected a header and rows below it")


def shown(text: str) -> str:
    """`text` of others for a message: quoted, on one line, cut where it is long."""
    return repr(text[:_SHOWN]) + ("..." if len(text) > _SHOWN else "")


def listed(names: Sequence[str]) -> str:
    """The first of `names`, with commas, and how many more there are."""
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def _decoded(line: bytes, path: Path, row: int) -> str:
    if b"\0" in line:
        raise DatasetError(f"{path}, row {row}: a NUL byte, expected UTF-8 text; save the file as CSV again")
    try:
        return line.rstrip(b"\r\n").decode()
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path}, row {row}: byte {error.start + 1} is not UTF-8; save the file in that encoding"
        ) from error


def _split(text: str, path: Path, row: int) -> list[str]:
    if '"' not in text:
        return text.split(",")
    fields, position = [], 0
    while True:
        match = _FIELD.match(text, position)
        if match is None:
            raise DatasetError(
                f"{path}, row {row}: a quote that is not closed, or stands inside a field; "
                'expected "..." around the whole field, on one line, and "" for a quote inside'
            )
        quoted, plain, end = match.groups()
        fields.append(plain if quoted is None else quoted.replace('""', '"'))
        if not end:
            return fields
        position = match.end()
