"""The data behind the pictures as files: CSV, and numpy's archives, which are read without unpickling."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.errors import one_line
from dlcv.runtime.files import whole_file, write_bytes


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A row a line; numbers with 6 digits; names with a line break are escaped to one line.

    Raises:
        OutputError: when it cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([f"{value:.6g}" if isinstance(value, float) else one_line(value) for value in row] for row in rows)
    write_bytes(path, text.getvalue().encode("utf-8", "surrogateescape"))


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """An `.npz`, compressed, the same bytes for the same arrays.

    Raises:
        OutputError: when it cannot be written.
    """
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
