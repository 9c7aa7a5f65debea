"""Classification data as a folder per class: `DATA/Forest/a.jpg`; and flat, as files named `CLASS_INDEX.png`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from dlcv.runtime.datasets.classes.found import Found, images_below, is_image
from dlcv.runtime.datasets.split import TRAIN, VALIDATION, VALIDATION_FOLDERS
from dlcv.runtime.datasets.text_rows import shown
from dlcv.runtime.errors import DatasetError

_INDEXED = re.compile(r"(.+)_[0-9]+", re.DOTALL)


def find_in_folder(folder: Path, say: Callable[[str], None]) -> list[Found]:
    """The images of a folder per class; of a flat folder where no folder inside it holds images.

    Args:
        folder: that holds either.
        say: takes a line about images that were left out.

    Raises:
        DatasetError: when there is no image, a class folder has none, a folder is one side of a split and not a class, or a flat
            file is not named `CLASS_INDEX`.
    """
    entries = sorted((entry for entry in _entries(folder) if not entry.name.startswith(".")), key=lambda e: e.name)
    flat = [entry.name for entry in entries if is_image(entry.name) and entry.is_file()]
    classes = {entry.name: list(images_below(Path(entry.path))) for entry in entries if entry.is_dir()}
    if not any(classes.values()) and flat:
        return _indexed(folder, flat)
    if not classes:
        raise _nothing(folder, [entry.name for entry in entries])
    _require_images(folder, classes)
    _require_no_part(folder, classes)
    if flat:
        say(f"{len(flat)} images stand outside the class folders of {folder} and are left out, such as {flat[0]}")
    inside = {label: folder / label for label in classes}
    return [Found(f"{label}/{name}", label, inside[label] / name) for label, names in classes.items() for name in names]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise DatasetError(f"cannot read the folder {folder}: {error.strerror or error}") from error


def _require_images(folder: Path, classes: dict[str, list[str]]) -> None:
    empty = [name for name, images in classes.items() if not images]
    if empty:
        first = folder / empty[0]
        also = f" (nor have {len(empty) - 1} others)" if len(empty) > 1 else ""
        raise DatasetError(f"the class folder {first} holds no image{also}; add images, or remove the folder")


def _require_no_part(folder: Path, classes: dict[str, list[str]]) -> None:
    """Refuses `train/Forest/a.jpg`: beside a folder such as `eval/` it would be taken for a class."""
    for name in (TRAIN, *VALIDATION_FOLDERS):
        if name in classes and all("/" in image for image in classes[name]):
            raise DatasetError(
                f"{folder} holds {name}/ with folders inside, which is no class; expected {TRAIN}/ and {VALIDATION}/, "
                f"or a folder per class, such as {folder / name} itself"
            )


def _indexed(folder: Path, files: list[str]) -> list[Found]:
    matches = {name: _INDEXED.fullmatch(os.path.splitext(name)[0]) for name in files}
    wrong = [name for name, match in matches.items() if match is None]
    if wrong:
        raise DatasetError(
            f"{len(wrong)} of the {len(files)} images in {folder} carry no class, the first is {shown(wrong[0])}; expected names "
            "CLASS_INDEX.png such as Forest_12.png, a folder per class, or a labels.csv"
        )
    return [Found(name, match[1], folder / name) for name, match in matches.items() if match is not None]


def _nothing(folder: Path, names: list[str]) -> DatasetError:
    tables = [name for name in names if name.lower().endswith(".csv")]
    hint = f"; to read a table, name the file itself: {folder / tables[0]}" if tables else ""
    return DatasetError(
        f"no labelled images in {folder}; expected a folder per class, a labels.csv, or files named CLASS_INDEX.png{hint}"
    )
