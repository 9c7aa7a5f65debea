"""Which images train and which validate: the data's own parts, else by seed; and the list of it that a run keeps."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from dlcv.runtime.datasets.text_rows import csv_rows, shown
from dlcv.runtime.errors import DatasetError
from dlcv.runtime.files import write_bytes
from dlcv.runtime.records.journal import escape, unescape

TRAIN, VALIDATION, TEST = "train", "validation", "test"
VALIDATION_FOLDERS = (VALIDATION, "val", "valid", TEST)
"""What the folder beside `train/` may be called; the first that is there validates."""

_PARTS = {
    **dict.fromkeys((TRAIN, "training"), TRAIN),
    **dict.fromkeys((VALIDATION, "val", "valid", "publictest"), VALIDATION),
    **dict.fromkeys((TEST, "testing", "privatetest"), TEST),
}
_COLUMNS = ["name", "split"]
_ESCAPED = re.compile(r"(?:[^\\]|\\(?:[\\tnr]|x[0-9a-f]{2}|u[0-9a-f]{4}|U00(?:0[0-9a-f]|10)[0-9a-f]{4}))+")


def split_folders(data: Path) -> tuple[Path, Path] | None:
    """The folder that trains and the one that validates; `None` unless both are there."""
    second = next((data / name for name in VALIDATION_FOLDERS if os.path.isdir(data / name)), None)
    return (data / TRAIN, second) if second is not None and os.path.isdir(data / TRAIN) else None


def validation_folder(data: Path) -> Path | None:
    """The folder that validates: beside `train/` by any of its names, alone as `validation/`; `None` where there is none."""
    if folders := split_folders(data):
        return folders[1]
    return data / VALIDATION if os.path.isdir(data / VALIDATION) else None


def part_of(text: str, where: str) -> str:
    """`train`, `validation` or `test`, from what a table's split column says (FER-2013's `Usage` among it).

    Raises:
        DatasetError: when it says something else.
    """
    part = _PARTS.get(text.strip().lower())
    if part is None:
        raise DatasetError(f"{where}: the split {shown(text.strip())}, expected one of {', '.join(_PARTS)}")
    return part


def draw(name: str, seed: int) -> float:
    """A number in [0, 1) that depends on name and seed alone."""
    digest = hashlib.sha256(f"{seed}:{name}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def stratified(names: Sequence[str], labels: Sequence[int], share: float, seed: int) -> list[bool]:
    """Whether each image validates: of each class, those whose names come first by `draw`.

    Args:
        names: of the images, all different.
        labels: their classes.
        share: of each class that validates, 0..1, rounded to whole images; where a class has two images or more, at least
            one trains and one validates. A single image trains.
        seed: another one gives another split.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for k, label in enumerate(labels):
        members[label].append(k)
    validates = [False] * len(names)
    for images in members.values():
        images.sort(key=lambda k: (draw(names[k], seed), names[k]))
        for k in images[: min(max(round(share * len(images)), 1), len(images) - 1)]:
            validates[k] = True
    return validates


def write_split(path: Path, training: Iterable[str], validation: Iterable[str]) -> None:
    """Writes the names of both sides to a CSV with the columns `name` and `split`; a name is one line, whatever it holds.

    Raises:
        OutputError: when the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for part, names in ((TRAIN, training), (VALIDATION, validation)):
        writer.writerows((escape(name), part) for name in names)
    write_bytes(path, text.getvalue().encode())


def read_split(path: Path) -> tuple[list[str], list[str]]:
    """The names that train and those that validate, as `write_split` wrote them.

    Segmentation names a pair inside its folder, so that one name may stand on both sides.

    Raises:
        DatasetError: when the file cannot be read, is no such list, or names an image twice on a side.
    """
    rows = csv_rows(path)
    header = next(rows)[1]
    if header != _COLUMNS:
        raise DatasetError(
            f"{path}, row 1: the columns are {shown(','.join(header))}, expected name,split; it is no run's split.csv"
        )
    sides: dict[str, dict[str, int]] = {TRAIN: {}, VALIDATION: {}}
    for row, (name, part) in rows:
        if part not in sides:
            raise DatasetError(f"{path}, row {row}: the split {shown(part)}, expected {TRAIN} or {VALIDATION}")
        first = sides[part].setdefault(_name(path, row, name), row)
        if first != row:
            raise DatasetError(f"{path}: rows {first} and {row} both name {shown(name)}; expected each once")
    return list(sides[TRAIN]), list(sides[VALIDATION])


def _name(path: Path, row: int, text: str) -> str:
    if not _ESCAPED.fullmatch(text):
        raise DatasetError(
            f"{path}, row {row}: {shown(text)} is no name as a run writes it; take the run's own split.csv"
        )
    return unescape(text)
