"""Whether an image asks to be turned when it is shown: plain tiles are, windows cannot be. GDAL tells it of a JPEG alone."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

from dlcv.runtime.headers import exif
from dlcv.runtime.raster.detect import tiff_facts

_TURNS = range(2, 9)
_MOST_EXIF_BYTES = 1 << 16


def is_turned(dataset: Any, path: Path) -> str:
    """The orientation of TIFF 6.0 and EXIF as words of a refusal; empty where the image is upright.

    Args:
        dataset: of rasterio, opened from `path`.
        path: of a TIFF, JPEG or PNG.
    """
    found = {"GTiff": _of_tiff, "JPEG": _of_jpeg, "PNG": _of_png}[dataset.driver](dataset, path)
    if found == exif.UPRIGHT:
        return ""
    return (
        f"tag Orientation {found}: the image is stored turned; write it upright (ImageMagick's -auto-orient, exiftran), "
        "or as it is stored, without the tag (gdal_translate to a TIFF)"
    )


def _of_tiff(_: Any, path: Path) -> int:
    facts = tiff_facts(path)
    return facts.orientation if facts is not None and facts.orientation in _TURNS else exif.UPRIGHT


def _of_jpeg(dataset: Any, _: Path) -> int:
    said = dataset.tags(ns="EXIF").get("EXIF_Orientation") or dataset.tags().get("EXIF_Orientation") or ""
    return int(said) if said.isdecimal() and int(said) in _TURNS else exif.UPRIGHT


def _of_png(_: Any, path: Path) -> int:
    """From the chunk eXIf, wherever it stands; the pixels are stepped over."""
    try:
        with open(path, "rb") as file:
            at = len(b"\x89PNG\r\n\x1a\n")
            while len(head := _at(file, at, 8)) == 8:
                length, kind = struct.unpack(">I4s", head)
                if kind == b"eXIf":
                    return exif.orientation(_at(file, at + 8, min(length, _MOST_EXIF_BYTES)))
                at += 12 + length
    except OSError:  # reading the rows will tell
        pass
    return exif.UPRIGHT


def _at(file: BinaryIO, position: int, length: int) -> bytes:
    file.seek(position)
    return file.read(length)
