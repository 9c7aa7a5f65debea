"""What the masks of a dataset mean. Two descriptions ship, a JSON file describes any other dataset.

    {"name": "deepglobe",           default: the file's name without .json
     "classes": [{"name": "urban", "colour": [0, 255, 255], "counted": true}, ...],   position = class index
     "masks": "colour",              or "index": palette or grey PNGs whose values are class indices
     "threshold": 128,               colour masks: a channel of at least this counts as 255, else as 0; null: exact
     "image_suffix": "_sat.jpg", "mask_suffix": "_mask.png",
     "image_folder": "images", "mask_folder": "masks"}     where images and masks stand in folders of their own

`counted` (default true) says whether a class counts in the mean over classes; the suffixes above are the default,
and so is the threshold of colour masks. Folders are named both or not at all; with them the suffixes may be the same, and
`train/images/` with `train/masks/` does as well as `images/train/` with `masks/train/`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dlcv.runtime.card.card import MAX_CLASSES
from dlcv.runtime.errors import DatasetError, TileError, one_line

MOST = MAX_CLASSES["segmentation"]
MASK_KINDS = ("colour", "index")
_KEYS = {"name", "classes", "masks", "threshold", "image_suffix", "mask_suffix", "image_folder", "mask_folder"}
_CLASS_KEYS = {"name", "colour", "counted"}
_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class DatasetDescription:
    """What the masks of a dataset mean.

    Attributes:
        name: of the dataset.
        classes: class names; the position is the class index.
        palette: (R, G, B), 0..255, of each class.
        uncounted: indices of the classes that the mean over classes leaves out.
        masks: `colour` or `index`.
        threshold: colour masks: a channel of at least this value counts as 255, else as 0; None: colours are exact.
        image_suffix: how an image's file name ends.
        mask_suffix: how its mask's file name ends instead.
        image_folder: a folder on the way to each image; empty where images and masks stand side by side.
        mask_folder: the one in its place on the way to its mask.
    """

    name: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    uncounted: tuple[int, ...] = ()
    masks: str = "colour"
    threshold: int | None = 128
    image_suffix: str = "_sat.jpg"
    mask_suffix: str = "_mask.png"
    image_folder: str = ""
    mask_folder: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As the JSON values that a description file holds; `description_from_dict` makes an equal one of them."""
        classes = [
            {"name": name, "colour": list(colour), "counted": index not in self.uncounted}
            for index, (name, colour) in enumerate(zip(self.classes, self.palette, strict=True))
        ]
        return {
            "name": self.name, "classes": classes, "masks": self.masks, "threshold": self.threshold,
            "image_suffix": self.image_suffix, "mask_suffix": self.mask_suffix,
            **({"image_folder": self.image_folder, "mask_folder": self.mask_folder} if self.image_folder else {}),
        }  # fmt: skip

    def side_by_side(self) -> DatasetDescription:
        """The same for copies of images and masks that stand in one folder."""
        image_suffix, mask_suffix = self.image_suffix, self.mask_suffix
        if image_suffix == mask_suffix:
            image_suffix, mask_suffix = f"_image{image_suffix}", f"_mask{mask_suffix}"
        return replace(self, image_suffix=image_suffix, mask_suffix=mask_suffix, image_folder="", mask_folder="")


def known_descriptions() -> list[str]:
    """The names of the descriptions that ship."""
    return sorted(path.stem for path in _FOLDER.glob("*.json"))


def load_description(name_or_file: str) -> DatasetDescription:
    """A description that ships, by its name, or one from a JSON file.

    Raises:
        DatasetError: when the name is unknown, or the file cannot be read or is not valid (all problems are told
            together).
    """
    if name_or_file in known_descriptions():
        return _from_file(_FOLDER / f"{name_or_file}.json")
    path = Path(name_or_file)
    if not name_or_file.endswith(".json") and not path.is_file():
        known = ", ".join(known_descriptions())
        raise DatasetError(f"unknown dataset {one_line(name_or_file)!r}; known: {known}; or name a FILE.json")
    return _from_file(path)


def thresholded(colour: tuple[int, int, int], threshold: int | None) -> tuple[int, int, int]:
    """A colour as it is looked up: each channel 0 or 255 where there is a threshold."""
    if threshold is None:
        return colour
    red, green, blue = (255 if value >= threshold else 0 for value in colour)
    return red, green, blue


def _from_file(path: Path) -> DatasetDescription:
    from dlcv.runtime.tiles.decode import read_file

    try:
        values = json.loads(read_file(path, max_bytes=1 << 20))
    except TileError as error:
        raise DatasetError(f"cannot read the dataset description {path}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"the dataset description {path} is not JSON: {one_line(error)}") from error
    return description_from_dict(values, path.stem, source=str(path))


def description_from_dict(values: Any, name: str, *, source: str) -> DatasetDescription:
    """A description from JSON values.

    Args:
        values: as `DatasetDescription.to_dict` gives them.
        name: of the dataset, where the values hold none.
        source: where the values were found, for the error's sentence.

    Raises:
        DatasetError: when they are not valid; all problems are told together.
    """
    problems = list(_problems(values))
    if problems:
        raise DatasetError(f"the dataset description {source} is not valid: {'; '.join(problems)}")
    return _description(name, values)


def _description(name: str, values: dict[str, Any]) -> DatasetDescription:
    classes = values["classes"]
    return DatasetDescription(
        name=values.get("name", name),
        classes=tuple(c["name"] for c in classes),
        palette=tuple((c["colour"][0], c["colour"][1], c["colour"][2]) for c in classes),
        uncounted=tuple(i for i, c in enumerate(classes) if not c.get("counted", True)),
        masks=values["masks"],
        threshold=values.get("threshold", 128) if values["masks"] == "colour" else None,
        image_suffix=values.get("image_suffix", "_sat.jpg"),
        mask_suffix=values.get("mask_suffix", "_mask.png"),
        image_folder=values.get("image_folder", ""),
        mask_folder=values.get("mask_folder", ""),
    )


def _problems(values: Any) -> Iterator[str]:
    if not isinstance(values, dict):
        yield "expected an object with classes and masks"
        return
    yield from _unknown_keys(values, _KEYS, "")
    if not _is_text(values.get("name", "default")):
        yield f"name is {_shown(values['name'])}, expected a text"
    if values.get("masks") not in MASK_KINDS:
        yield f"masks is {_shown(values.get('masks'))}, expected {' or '.join(map(repr, MASK_KINDS))}"
    threshold = values.get("threshold", 128)
    threshold_fits = threshold is None or (_is_level(threshold) and threshold > 0)
    if not threshold_fits:
        yield f"threshold is {_shown(threshold)}, expected 1 to 255 or null"
    yield from _suffix_problems(values)
    yield from _folder_problems(values)
    faults = list(_class_problems(values.get("classes")))
    yield from faults
    if not faults:
        by_colour = values.get("masks") == "colour" and threshold_fits
        yield from _repeated(values["classes"], threshold if by_colour else None, by_colour)


def _suffix_problems(values: dict[str, Any]) -> Iterator[str]:
    suffixes = [values.get("image_suffix", "_sat.jpg"), values.get("mask_suffix", "_mask.png")]
    for key, suffix in zip(("image_suffix", "mask_suffix"), suffixes, strict=True):
        if not isinstance(suffix, str) or not suffix or "/" in suffix:
            yield f"{key} is {_shown(suffix)}, expected the end of a file name such as '_sat.jpg'"
    if suffixes[0] == suffixes[1] and "image_folder" not in values:
        yield f"image_suffix and mask_suffix are both {_shown(suffixes[0])}, expected two that tell images from masks, or folders of their own"


def _folder_problems(values: dict[str, Any]) -> Iterator[str]:
    keys = ("image_folder", "mask_folder")
    if not any(key in values for key in keys):
        return
    folders = [values.get(key) for key in keys]
    for key, folder in zip(keys, folders, strict=True):
        if not _is_text(folder) or "/" in str(folder) or str(folder).startswith("."):
            yield f"{key} is {_shown(folder)}, expected the name of a folder such as 'images' (both are named, or none)"
    if folders[0] == folders[1]:
        yield f"image_folder and mask_folder are both {_shown(folders[0])}, expected two"


def _class_problems(classes: Any) -> Iterator[str]:
    if not isinstance(classes, list) or not 2 <= len(classes) <= MOST:
        yield f"classes is {_shown(classes)}, expected a list of 2 to {MOST} classes"
        return
    for index, item in enumerate(classes):
        if not isinstance(item, dict):
            yield f"class {index} is {_shown(item)}, expected an object with name and colour"
            continue
        yield from _unknown_keys(item, _CLASS_KEYS, f"class {index}: ")
        if not _is_text(item.get("name")):
            yield f"class {index}: name is {_shown(item.get('name'))}, expected a text"
        colour = item.get("colour")
        if not isinstance(colour, list) or len(colour) != 3 or not all(map(_is_level, colour)):
            yield f"class {index}: colour is {_shown(colour)}, expected [R, G, B] of 0 to 255"
        if not isinstance(item.get("counted", True), bool):
            yield f"class {index}: counted is {_shown(item['counted'])}, expected true or false"


def _repeated(classes: list[dict[str, Any]], threshold: int | None, by_colour: bool) -> Iterator[str]:
    if not any(c.get("counted", True) for c in classes):
        yield "no class is counted, expected at least one"
    names: dict[str, int] = {}
    colours: dict[tuple[int, int, int], int] = {}
    for index, item in enumerate(classes):
        first = names.setdefault(item["name"], index)
        if first != index:
            yield f"classes {first} and {index} are both named {_shown(item['name'])}"
        first = colours.setdefault(thresholded(tuple(item["colour"]), threshold), index)
        if first != index and by_colour:
            after = "" if threshold is None else f" after the threshold of {threshold}; set threshold to null"
            yield f"classes {first} and {index} have the same colour{after}"


def _unknown_keys(values: dict[str, Any], known: set[str], where: str) -> Iterator[str]:
    unknown = sorted(set(values) - known)
    if unknown:
        yield f"{where}unknown key {', '.join(map(_shown, unknown))}, expected {', '.join(sorted(known))}"


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value.isprintable()


def _is_level(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255


def _shown(value: Any) -> str:
    text = "missing" if value is None else one_line(repr(value))
    return text if len(text) <= 40 else text[:37] + "..."
