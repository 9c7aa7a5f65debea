"""A figure and its data as files: what becomes of a drawing."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dlcv.runtime.files import write_bytes
from dlcv.train.pictures.picture import Picture
from dlcv.train.pictures.style import write_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Table = tuple[Sequence[str], Iterable[Sequence[object]]]
"""Header and rows."""


def keep(
    folder: Path,
    name: str,
    figure: Figure,
    *,
    title: str,
    caption: str,
    table: Table | None = None,
    exact: bool = False,
) -> Picture:
    """Writes `NAME.png` (`exact` as in `png_bytes`) and, with a table, `NAME.csv` into a folder that is there.

    Raises:
        OutputError: when one cannot be written.
    """
    png, data = folder / f"{name}.png", folder / f"{name}.csv" if table else None
    write_png(figure, png, exact=exact)
    if table and data:
        write_table(data, *table)
    return Picture(name, title, caption, png, data)


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes a CSV; numbers with six digits, nan empty.

    Raises:
        OutputError: when it cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)
    write_bytes(path, text.getvalue().encode("utf-8", "backslashreplace"))


def _cell(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.6g}" if value == value else ""
    return value
