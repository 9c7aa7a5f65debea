"""Which image belongs to which mask, and which pairs train and which validate."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from dlcv.runtime.datasets.masks.description import DatasetDescription
from dlcv.runtime.datasets.split import TRAIN, VALIDATION, VALIDATION_FOLDERS, draw, split_folders, validation_folder
from dlcv.runtime.errors import DatasetError


@dataclass(frozen=True)
class Pair:
    """An image and its mask.

    Attributes:
        name: path of the pair inside its folder, without the suffix and the folders that tell images from masks, with forward slashes.
        image: path of the image.
        mask: path of the mask.
    """

    name: str
    image: Path
    mask: Path


def find_pairs(folder: Path, description: DatasetDescription) -> list[Pair]:
    """All pairs in a folder and the folders inside it, sorted by name.

    Raises:
        DatasetError: when the folder is missing, holds no pair, an image has no mask or a mask no image, or two have one name.
    """
    if not folder.is_dir():
        raise DatasetError(f"there is no folder {folder}; --data expects a folder of tiles and masks")
    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    kinds = [
        (description.image_suffix, description.image_folder, images),
        (description.mask_suffix, description.mask_folder, masks),
    ]
    kinds.sort(
        key=lambda kind: -len(kind[0])
    )  # the longer one decides where one ends in the other: ".png" and "_mask.png"
    for path, name in _files(folder):
        for suffix, inside, found in kinds:
            short = _without(name, inside)
            if short is not None and short.endswith(suffix):
                first = found.setdefault(short.removesuffix(suffix), path)
                if first != path:
                    raise DatasetError(
                        f"{first} and {path} have one name beside their masks' or images' folder; expected one of them"
                    )
                break
    _check_complete(folder, description, images, masks)
    return [Pair(name, images[name], masks[name]) for name in sorted(images)]


def load_split(
    data: Path, description: DatasetDescription, *, validation_share: float = 0.2, seed: int = 0
) -> tuple[list[Pair], list[Pair]]:
    """Training and validation pairs of a data folder.

    With `train/` and `validation/` (or `val/`, `valid/`, `test/`) inside `data`, or inside its folder of images, these are the
    two. Otherwise each pair's name
    and the seed alone decide (by SHA-256), so that adding tiles moves none from one side to the other; the shares are met on
    average.

    Args:
        data: the folder.
        validation_share: of the pairs, 0..1, where there are no two folders.
        seed: another one gives another split.

    Raises:
        DatasetError: as `find_pairs`; when only one of the two folders is there; when one side of the split is empty.
    """
    if folders := split_folders(data):
        return find_pairs(folders[0], description), find_pairs(folders[1], description)
    if parts := _parts_of_images(data, description):
        train, validation = (_below(part, data, description) for part in parts)
        return train, validation
    if present := [part for part in (TRAIN, VALIDATION) if (data / part).is_dir()]:
        missing = VALIDATION if present == [TRAIN] else TRAIN
        raise DatasetError(f"{data} holds {present[0]}/ but no {missing}/; expected both, or none for a seeded split")
    pairs = find_pairs(data, description)
    validation = [pair for pair in pairs if draw(pair.name, seed) < validation_share]
    train = [pair for pair in pairs if draw(pair.name, seed) >= validation_share]
    if not train or not validation:
        raise DatasetError(
            f"splitting the {len(pairs)} pairs in {data} leaves {len(train)} to train, {len(validation)} to validate; "
            f"add tiles, or make {TRAIN}/ and {VALIDATION}/ inside"
        )
    return train, validation


def validation_pairs(data: Path, description: DatasetDescription) -> list[Pair]:
    """The pairs to evaluate on: those of `validation/` inside `data` if it is there, else all in `data`.

    `val/`, `valid/` or `test/` serve where `train/` stands beside them. A seeded split is not repeated here: a folder without
    `validation/` is taken for tiles that the model has not seen (`all_count_note` says so to people).

    Raises:
        DatasetError: as `find_pairs`.
    """
    if validation_folder(data) is None and (parts := _parts_of_images(data, description)):
        return _below(parts[1], data, description)
    return find_pairs(validation_folder(data) or data, description)


def has_validation(data: Path, description: DatasetDescription) -> bool:
    """Whether some pairs of a data folder are for validation by the folders that they stand in."""
    return validation_folder(data) is not None or _parts_of_images(data, description) is not None


def all_count_note(data: Path, count: int, what: str, most: int | None = None) -> str:
    """A line for people where any of the `what` of a folder or a CSV may count; empty where its name says that it is for validation.

    Args:
        data: the folder or CSV.
        count: how many it holds.
        what: `tiles` or `images`.
        most: how many of them are taken at most; None for all.
    """
    if os.path.basename(os.path.abspath(data)) in VALIDATION_FOLDERS:
        return ""
    which = (
        f"all its {count} {what} count" if most is None or count <= most else f"any of its {count:,} {what} may count"
    )
    return f"{data} has no {VALIDATION}/: {which}, and those that the model was trained on flatter it"


def _parts_of_images(data: Path, description: DatasetDescription) -> tuple[str, str] | None:
    """The names of `images/train` and of the folder beside it that validates, where images have a folder and these are in it."""
    folders = split_folders(data / description.image_folder) if description.image_folder else None
    return (folders[0].name, folders[1].name) if folders else None


def _below(part: str, data: Path, description: DatasetDescription) -> list[Pair]:
    """The pairs of `images/PART` and `masks/PART`, named as if PART were the folder."""
    pairs = [pair for pair in find_pairs(data, description) if pair.name.startswith(f"{part}/")]
    return [replace(pair, name=pair.name.removeprefix(f"{part}/")) for pair in pairs]


def _without(name: str, folder: str) -> str | None:
    """A file's path without a folder on its way; None where that is not on it."""
    if not folder:
        return name
    *folders, file = name.split("/")
    if folder not in folders:
        return None
    folders.remove(folder)
    return "/".join((*folders, file))


def _files(folder: Path) -> Iterable[tuple[Path, str]]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            path = Path(root, name)
            yield path, path.relative_to(folder).as_posix()


def _check_complete(
    folder: Path, description: DatasetDescription, images: dict[str, Path], masks: dict[str, Path]
) -> None:
    image, mask = (f"{inside}/" if inside else "" for inside in (description.image_folder, description.mask_folder))
    suffixes = f"{image}NAME{description.image_suffix} with {mask}NAME{description.mask_suffix}"
    if not images and not masks:
        raise DatasetError(
            f"no pairs in {folder}; looked for {suffixes}, as the dataset {description.name} says; "
            "describe other names and folders with --dataset FILE.json, as docs/training.md shows"
        )
    faults = []
    for kind, other, have_kind, have_other in (("image", "mask", images, masks), ("mask", "image", masks, images)):
        missing = sorted(have_kind.keys() - have_other.keys())
        if missing:
            plural, have = ("", "has") if len(missing) == 1 else ("s", "have")
            faults.append(f"{len(missing)} {kind}{plural} {have} no {other}, the first is {have_kind[missing[0]]}")
    if faults:
        raise DatasetError(f"{'; '.join(faults)}; expected {suffixes}")
