"""Classification data as a CSV: of file names and labels, or of labels and the grey pixels themselves (as FER-2013 has them)."""

from __future__ import annotations

import math
import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.datasets.classes.found import Found, is_image
from dlcv.runtime.datasets.split import part_of
from dlcv.runtime.datasets.text_rows import csv_rows, shown
from dlcv.runtime.errors import DatasetError
from dlcv.runtime.tiles.names import IMAGE_SUFFIXES

FILE_COLUMNS = ("file", "filename", "image", "imageid", "path", "name")
LABEL_COLUMNS = ("label", "class", "classname", "category", "target", "emotion")
PIXEL_COLUMN = "pixels"
SPLIT_COLUMNS = ("split", "usage", "subset")
IMAGES_FOLDER = "images"

_LEAVES = re.compile(r"[/\\]|[A-Za-z]:|(?:.*[/\\])?\.\.(?:[/\\]|$)", re.DOTALL)
_LEVELS, _LEVEL = re.compile(r"[0-9][0-9 ]*"), re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class _Columns:
    """Where things stand in a row; `content` is the file or the pixels, `split` is -1 where there is none."""

    content: int
    label: int
    split: int
    pixels: bool


def find_in_csv(path: Path) -> list[Found]:
    """The rows of a CSV.

    The columns are known by their header, whatever their case and underscores: `file`, `filename`, `image`, `image_id`,
    `path` or `name` (below the CSV's folder, or below `images/` beside it), or `pixels` (rows of a square grey image, 0..255,
    with spaces); `label`, `class`, `class_name`, `category`, `target` or `emotion`; and perhaps `split`, `usage` or `subset`.

    Raises:
        DatasetError: when the file cannot be read, its header lacks a column, it has no rows, or a row cannot be used; names
            the row. Files that are not there are counted and the first is named.
    """
    rows = csv_rows(path)
    columns = _columns(path, next(rows)[1])
    found = list(_pixel_images(path, columns, rows) if columns.pixels else _files(path, columns, rows))
    if not found:
        raise DatasetError(f"{path} holds a header and no rows; expected a row an image")
    return found


def _columns(path: Path, header: Sequence[str]) -> _Columns:
    names = [name.strip().lower().replace("_", "").replace(" ", "") for name in header]
    content = _first(names, (PIXEL_COLUMN, *FILE_COLUMNS))
    label = _first(names, LABEL_COLUMNS)
    if content < 0 or label < 0:
        raise DatasetError(
            f"{path}, row 1: the columns are {shown(','.join(header))}; expected one of {', '.join(FILE_COLUMNS)} or {PIXEL_COLUMN}, "
            f"and one of {', '.join(LABEL_COLUMNS)}"
        )
    split = _first(names, SPLIT_COLUMNS)
    for k in (content, label, *([split] if split >= 0 else [])):
        if names.count(names[k]) > 1:
            raise DatasetError(f"{path}, row 1: the column {shown(header[k])} stands there twice; remove one")
    return _Columns(content, label, split, names[content] == PIXEL_COLUMN)


def _first(names: Sequence[str], known: Sequence[str]) -> int:
    return next((names.index(name) for name in known if name in names), -1)


def _said(path: Path, columns: _Columns, row: int, fields: Sequence[str]) -> tuple[str, str]:
    """Label and part of a row."""
    label = fields[columns.label].strip()
    if not label:
        raise DatasetError(f"{path}, row {row}: the label is empty; expected a class")
    return label, part_of(fields[columns.split], f"{path}, row {row}") if columns.split >= 0 else ""


def _files(path: Path, columns: _Columns, rows: Iterator[tuple[int, list[str]]]) -> Iterator[Found]:
    seen: dict[str, int] = {}
    missing: list[tuple[int, str]] = []
    for row, fields in rows:
        name = _checked_name(path, row, fields[columns.content].strip())
        label, part = _said(path, columns, row, fields)
        file = _locate(os.fspath(path.parent), name)
        if file is None:
            missing.append((row, name))
            continue
        first = seen.setdefault(file, row)
        if first != row:
            raise DatasetError(f"{path}: rows {first} and {row} both name {shown(name)}; remove one")
        yield Found(name, label, Path(file), row, part)
    if missing:
        row, name = missing[0]
        raise DatasetError(
            f"{path}: {len(missing)} of its files are not there, the first is {shown(name)} in row {row}; "
            f"expected them below {path.parent} or {path.parent / IMAGES_FOLDER}"
        )


def _checked_name(path: Path, row: int, name: str) -> str:
    if not name:
        raise DatasetError(f"{path}, row {row}: the file name is empty")
    if _LEAVES.match(name):
        raise DatasetError(f"{path}, row {row}: {shown(name)} leads out of the CSV's folder; expected a path below it")
    return posixpath.normpath(name)


def _locate(folder: str, name: str) -> str | None:
    suffixes = ("",) if is_image(posixpath.basename(name)) else ("", *IMAGE_SUFFIXES)
    for suffix in suffixes:
        for file in (os.path.join(folder, name + suffix), os.path.join(folder, IMAGES_FOLDER, name + suffix)):
            if os.path.isfile(file):
                return file
    return None


def _pixel_images(path: Path, columns: _Columns, rows: Iterator[tuple[int, list[str]]]) -> Iterator[Found]:
    first, side = 0, 0
    for row, fields in rows:
        label, part = _said(path, columns, row, fields)
        values = _values(path, row, fields[columns.content])
        if not first:
            first, side = row, math.isqrt(len(values))
            if not side or side * side != len(values):
                raise DatasetError(f"{path}, row {row}: {len(values)} pixels, expected a square such as 48 x 48 = 2304")
        if len(values) != side * side:
            raise DatasetError(f"{path}, row {row}: {len(values)} pixels, expected {side * side} as in row {first}")
        yield Found(f"row {row}", label, path, row, part, values.reshape(side, side))


def _values(path: Path, row: int, text: str) -> NDArray[np.uint8]:
    text = text.strip()
    values = np.fromstring(text, np.int64, sep=" ") if _LEVELS.fullmatch(text) else None
    if values is None or values.max() > 255:
        wrong = (value for value in text.split(" ") if value and not (_LEVEL.fullmatch(value) and int(value) < 256))
        raise DatasetError(
            f"{path}, row {row}: {shown(next(wrong, text))} among the pixels; expected numbers from 0 to 255 with spaces between"
        )
    return values.astype(np.uint8)
