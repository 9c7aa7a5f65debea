"""An image as a format of classification data names it, before its label is a class index."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.tiles.names import IMAGE_SUFFIXES


@dataclass(frozen=True)
class Found:
    """An image and what is said of it.

    Attributes:
        name: its own within what was read, with forward slashes.
        label: its class as it is written: a name, or an index.
        path: of the image's file; of the CSV where the pixels stand in it.
        row: of the CSV, from 1; 0 where there is none.
        part: `train`, `validation` or `test` where the data says so; else empty.
        pixels: `None`, or the grey image itself, uint8 (h, w).
    """

    name: str
    label: str
    path: Path
    row: int = 0
    part: str = ""
    pixels: NDArray[np.uint8] | None = None


def is_image(name: str) -> bool:
    """Whether a file's name is that of an image and not hidden."""
    return not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES)


def images_below(folder: Path) -> Iterator[str]:
    """Images in a folder and the folders inside it, sorted: paths below it, with forward slashes; hidden ones left out."""
    top = os.fspath(folder)
    for where, folders, files in os.walk(top):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = os.path.relpath(where, top).replace(os.sep, "/") + "/" if where != top else ""
        yield from (inside + name for name in sorted(files) if is_image(name))
