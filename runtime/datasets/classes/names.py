"""The classes of classification data: from `classes.txt`, or from the labels themselves; and a choice among them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from dlcv.runtime.card.card import MAX_CLASSES
from dlcv.runtime.datasets.classes.found import Found
from dlcv.runtime.datasets.classes.images import ClassificationSet
from dlcv.runtime.datasets.text_rows import listed, shown, text_rows
from dlcv.runtime.errors import DatasetError

CLASSES_NAME = "classes.txt"
"""One class name a line; the position is the index. It stands beside the images or the CSV."""

_INTEGER = re.compile(r"-?[0-9]{1,9}")


def read_classes(folder: Path) -> tuple[str, ...] | None:
    """The names in the folder's `classes.txt`; `None` where there is no such file.

    Raises:
        DatasetError: when it cannot be read, is empty, has a blank line between names, or as `check_classes` says.
    """
    path = folder / CLASSES_NAME
    if not os.path.isfile(path):
        return None
    names: list[str] = []
    for row, text in text_rows(path):
        if row != len(names) + 1:
            raise DatasetError(
                f"{path}, row {len(names) + 1} is blank; expected a class name a line, as the position is the index"
            )
        names.append(text.strip())
    return check_classes(names, path)


def check_classes(names: Sequence[str], source: Path) -> tuple[str, ...]:
    """`names`, if they can stand on a model card, in tables and on lines of their own.

    Raises:
        DatasetError: when there are none or too many, or a name is empty, not printable, begins or ends with a space, or is
            there twice.
    """
    limit = MAX_CLASSES["classification"]
    if not 1 <= len(names) <= limit:
        raise DatasetError(f"{source} has {len(names)} classes, expected 1 to {limit}")
    for name in names:
        if not name or not name.isprintable() or name != name.strip():
            raise DatasetError(
                f"{source}: the class name {shown(name)} is empty, not printable or begins or ends with a space"
            )
    if len(set(names)) != len(names):
        twice = next(name for k, name in enumerate(names) if name in names[:k])
        raise DatasetError(f"{source}: the class {shown(twice)} is there twice")
    return tuple(names)


def with_labels(found: Sequence[Found], fixed: Sequence[str] | None, source: Path) -> tuple[list[int], tuple[str, ...]]:
    """Class indices of `found`, and the classes.

    Args:
        found: images and labels as they are written.
        fixed: the classes, which labels name or count from 0; `None`: the labels' own. Labels that are all whole numbers make
            the classes `0` to the largest of them; others are sorted.
        source: of the images, for messages.

    Raises:
        DatasetError: when a label is none of the fixed classes or below 0, or numbers among them could be names as well as
            indices; as `check_classes`.
    """
    texts = dict.fromkeys(image.label for image in found)
    if fixed is None:
        whole = all(map(_INTEGER.fullmatch, texts))
        fixed = _counted(found, source) if whole else check_classes(sorted(texts), source)
    index = {name: k for k, name in enumerate(fixed)}
    _require_one_meaning(texts, index, source)
    known = {text: _index(text, index) for text in texts}
    for image in found:
        if known[image.label] is None:
            raise DatasetError(
                f"{_where(image, source)}: the label {shown(image.label)} is no class; the {len(fixed)} known are {listed(fixed)}"
            )
    return [known[image.label] or 0 for image in found], tuple(fixed)


def narrowed(labelled: ClassificationSet, names: Sequence[str], say: Callable[[str], None]) -> ClassificationSet:
    """The images of some classes alone, which are then all there are, in the order of `names`.

    Raises:
        DatasetError: when a name is no class or is there twice, or no image is left.
    """
    unknown = [name for name in names if name not in labelled.classes]
    if unknown:
        raise DatasetError(
            f"{labelled.name} has no class {shown(unknown[0])}; the {len(labelled.classes)} known are {listed(labelled.classes)}"
        )
    chosen = check_classes(names, Path(labelled.name))
    places = {labelled.classes.index(name): k for k, name in enumerate(chosen)}
    images = [replace(image, label=places[image.label]) for image in labelled.examples if image.label in places]
    if not images:
        raise DatasetError(f"{labelled.name} has no image of the classes {listed(chosen)}")
    left_out = len(labelled) - len(images)
    if left_out:
        say(
            f"{labelled.name}: {left_out} of its {len(labelled)} images are of other classes than {listed(chosen)} and are left out"
        )
    return ClassificationSet(images, chosen, labelled.name)


def _counted(found: Sequence[Found], source: Path) -> tuple[str, ...]:
    limit = MAX_CLASSES["classification"]
    for image in found:
        if not 0 <= int(image.label) < limit:
            raise DatasetError(
                f"{_where(image, source)}: the label {shown(image.label)}, expected 0 to {limit - 1}; "
                f"labels that are numbers but count nothing need a {CLASSES_NAME}"
            )
    return tuple(map(str, range(max(int(image.label) for image in found) + 1)))


def _require_one_meaning(texts: Iterable[str], index: dict[str, int], source: Path) -> None:
    """Refuses `0` beside classes `1`, `2`, `3`: `0` could only count and `1` could also be a name, so that two would be one class."""
    whole = [text for text in texts if _INTEGER.fullmatch(text)]
    names = [text for text in whole if index.get(text, int(text)) != int(text)]
    counts = [text for text in whole if text not in index and _index(text, index) is not None]
    if names and counts:
        raise DatasetError(
            f"{source}: the label {shown(names[0])} is a class's name and {shown(counts[0])} is none; expected labels that all name "
            f"the classes {listed(list(index))}, or in {CLASSES_NAME} names that are no numbers, which labels count from 0"
        )


def _index(text: str, index: dict[str, int]) -> int | None:
    if text in index:
        return index[text]
    return int(text) if _INTEGER.fullmatch(text) and 0 <= int(text) < len(index) else None


def _where(image: Found, source: Path) -> str:
    return f"{image.path if image.pixels is not None else source}, {f'row {image.row}' if image.row else image.name}"
