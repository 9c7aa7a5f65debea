"""Labelled images for training and for everything that checks a model, whatever the task and the form of the data."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.datasets.classes.formats import LABELS_NAME, read_images
from dlcv.runtime.datasets.classes.images import ClassificationSet, LabelledImage
from dlcv.runtime.datasets.classes.names import CLASSES_NAME, check_classes, narrowed, read_classes
from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.datasets.masks.description import DatasetDescription, load_description
from dlcv.runtime.datasets.masks.likeness import check_counted, check_likeness
from dlcv.runtime.datasets.masks.pairs import all_count_note, has_validation, load_split, validation_pairs
from dlcv.runtime.datasets.masks.tiles import DESCRIPTION_NAME, SegmentationSet, find_description
from dlcv.runtime.datasets.split import TRAIN, VALIDATION, read_split, split_folders, stratified, validation_folder
from dlcv.runtime.datasets.text_rows import listed, shown
from dlcv.runtime.errors import DatasetError, TileError
from dlcv.runtime.files import make_folder, write_bytes
from dlcv.runtime.tiles.decode import read_file
from dlcv.runtime.tiles.names import IMAGE_SUFFIXES

__all__ = ["LABELS_NAME", "labelled_for", "listed_in", "training_split", "write_labelled_csv"]

Say = Callable[[str], None]


def training_split(
    task: str,
    data: Path,
    *,
    dataset: str,
    only: Sequence[str] = (),
    validation_share: float,
    seed: int,
    say: Say = lambda _: None,
) -> tuple[LabelledSet[Any], LabelledSet[Any]]:
    """The images that train and those that validate: as the data says, else by seed.

    Args:
        task: `segmentation` or `classification`.
        data: a folder; for classification a CSV, too.
        dataset: what masks mean, a name or a FILE.json; not read for classification.
        only: the classes to learn, in this order; empty for all. Classification alone.
        validation_share: 0..1, where the data has no split; classification takes it of each class.
        seed: of that split.
        say: takes lines about what was left out.

    Raises:
        DatasetError: when the data cannot be used, a side is empty or has other classes than the other, there is one class
            alone, masks are not those of the dataset, or `only` is given for segmentation.
    """
    if task == "segmentation":
        if only:
            raise DatasetError(
                "a choice of classes is for classification; what masks mean stands in the dataset's description"
            )
        masks = load_description(dataset)
        train, validation = load_split(data, masks, validation_share=validation_share, seed=seed)
        check_likeness([*train, *validation], masks)
        check_counted(train, masks)
        return SegmentationSet(train, masks), SegmentationSet(validation, masks)
    sides = _two_folders(data, only, say) or _one_source(data, only, validation_share, seed, say)
    _check_sides(data, *sides, say)
    return sides


def labelled_for(
    card: ModelCard,
    data: Path,
    *,
    dataset: str | None = None,
    learned: DatasetDescription | None = None,
    split: Path | None = None,
    say: Say = lambda _: None,
    most: int | None = None,
) -> LabelledSet[Any]:
    """The labelled images to judge a model on: those that the data has for validation, else all, which `say` tells.

    Args:
        card: of the model. Classification data with more classes is narrowed to the model's.
        data: a folder; for classification a CSV, too.
        dataset, learned: what masks mean, see `find_description`.
        split: a run's `split.csv`: the images that it lists for validation are taken.
        say: takes lines about what counts and what was left out.
        most: how many of them the caller takes at most, for what `say` is told; None for all. All are given in any case.

    Raises:
        DatasetError: when the data cannot be used, has other classes than the model or masks that are not those of the dataset,
            or lacks images that `split` lists.
    """
    labelled, all_count = (
        _pairs_for(card, data, dataset, learned) if card.task == "segmentation" else _images_for(data, say)
    )
    if split is not None:
        labelled = listed_in(split, data, labelled)
    if isinstance(labelled, ClassificationSet) and set(card.classes) <= set(labelled.classes):
        labelled = narrowed(labelled, card.classes, say)
    labelled.require_same_classes(card)
    if all_count and split is None and (note := all_count_note(data, len(labelled), all_count, most)):
        say(note)
    return labelled


def listed_in(split: Path, data: Path, labelled: LabelledSet[Any]) -> LabelledSet[Any]:
    """Of some images those that a run's `split.csv` lists for validation, in its order.

    Args:
        split: the file.
        data: where the images are from, for what is told.
        labelled: the images.

    Raises:
        DatasetError: when the file is no such list, lists none for validation, or one that is not among the images.
    """
    names = read_split(split)[1]
    if not names:
        raise DatasetError(f"{split} lists no image for {VALIDATION}")
    known = {example.name: example for example in labelled.examples}
    missing = [name for name in names if name not in known]
    if missing:
        raise DatasetError(
            f"{len(missing)} of the {len(names)} validation images in {split} are not in {data}, the first is {shown(missing[0])}; "
            "expected the data that the run was trained on"
        )
    return labelled.with_examples([known[name] for name in names])


def write_labelled_csv(folder: Path, labelled: ClassificationSet) -> None:
    """Copies images, under numbers, with `labels.csv` and `classes.txt`: a folder that `labelled_for` reads, all for validation.

    Args:
        folder: made if it is missing.
        labelled: its files are copied byte by byte; pixels that stand in a CSV become grey PNG files.

    Raises:
        DatasetError: when an image cannot be read.
        OutputError: when the folder or a file cannot be written.
    """
    classes = check_classes(labelled.classes, folder)
    make_folder(folder)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("file", "label", "split"))
    for number, image in enumerate(labelled.examples):
        content, suffix = _file_of(image)
        write_bytes(folder / f"{number:04}{suffix}", content)
        writer.writerow((f"{number:04}{suffix}", classes[image.label], VALIDATION))
    write_bytes(folder / LABELS_NAME, table.getvalue().encode())
    write_bytes(folder / CLASSES_NAME, "".join(f"{name}\n" for name in classes).encode())


def _two_folders(data: Path, only: Sequence[str], say: Say) -> tuple[ClassificationSet, ClassificationSet] | None:
    if (folders := _own_folders(data)) is None:
        return None
    train, validation = (_side(data, folder, say) for folder in folders)
    return _narrowed(train, only, say), _narrowed(validation, only, say)


def _one_source(
    data: Path, only: Sequence[str], share: float, seed: int, say: Say
) -> tuple[ClassificationSet, ClassificationSet]:
    found = read_images(data, say=say)
    if found.parts is not None:
        return _narrowed(found.part(TRAIN), only, say), _narrowed(found.part(VALIDATION, say), only, say)
    labelled = _narrowed(found.labelled, only, say)
    images = labelled.examples
    validates = stratified([image.name for image in images], [image.label for image in images], share, seed)
    sides = {side: [e for e, v in zip(images, validates, strict=True) if v is side] for side in (False, True)}
    return labelled.with_examples(sides[False]), labelled.with_examples(sides[True])


def _own_folders(data: Path) -> tuple[Path, Path] | None:
    """`train/` and the folder that validates, unless a `labels.csv` beside them says which image is what."""
    return None if os.path.isfile(data / LABELS_NAME) else split_folders(data)


def _side(data: Path, folder: Path, say: Say) -> ClassificationSet:
    found = read_images(folder, fixed=read_classes(data), prefix=f"{folder.name}/", say=say)
    found.labelled.name = f"{os.path.basename(os.path.abspath(data))}/{folder.name}"
    return found.labelled


def _narrowed(labelled: ClassificationSet, only: Sequence[str], say: Say) -> ClassificationSet:
    return narrowed(labelled, only, say) if only and labelled.examples else labelled


def _check_sides(data: Path, train: ClassificationSet, validation: ClassificationSet, say: Say) -> None:
    if train.classes != validation.classes:
        here, there = (sorted(set(a.classes) - set(b.classes)) for a, b in ((train, validation), (validation, train)))
        faults = [f"only {s.name} has {listed(names)}" for s, names in ((train, here), (validation, there)) if names]
        raise DatasetError(
            f"the classes of {train.name} and {validation.name} differ: {'; '.join(faults) or 'their order'}; "
            f"expected the same; choose some that both have, or write them to {data / CLASSES_NAME}"
        )
    if not train.examples or not validation.examples:
        raise DatasetError(
            f"{data} leaves {len(train)} images to train and {len(validation)} to validate; expected some on each side"
        )
    if len(train.classes) < 2:
        raise DatasetError(
            f"{data} has one class, {shown(train.classes[0])}; expected two or more: a folder per class, labels in a CSV, or "
            f"{TRAIN}/ and {VALIDATION}/ with classes in each"
        )
    for side, task in ((train, "train on"), (validation, "validate on")):
        if none := [name for name, count in zip(side.classes, side.counts(), strict=True) if not count]:
            say(f"{len(none)} of the {len(side.classes)} classes have no image to {task}: {listed(none)}")


def _pairs_for(
    card: ModelCard, data: Path, dataset: str | None, learned: DatasetDescription | None
) -> tuple[LabelledSet[Any], str]:
    """The pairs to judge on, and what to call them where they are all that there are; as `_images_for`."""
    masks = find_description(dataset, data, card, learned)
    all_count = not has_validation(data, masks) and not (data / DESCRIPTION_NAME).is_file()
    pairs = validation_pairs(data, masks)
    check_likeness(pairs, masks)
    return SegmentationSet(pairs, masks), "tiles" if all_count else ""


def _images_for(data: Path, say: Say) -> tuple[LabelledSet[Any], str]:
    table = os.path.isfile(data / LABELS_NAME)
    if not table and (folder := validation_folder(data)) is not None:
        return _side(data, folder, say), ""
    found = read_images(data, say=say)
    if found.parts is None:
        return found.labelled, "images"
    if not (validation := found.part(VALIDATION, say)).examples:
        raise DatasetError(f"the split column of {data} has no row for {VALIDATION}")
    return validation, ""


def _file_of(image: LabelledImage) -> tuple[bytes, str]:
    """What a copy of an image holds, and its suffix."""
    if image.pixels is not None:
        import cv2

        return cv2.imencode(".png", image.pixels)[1].tobytes(), ".png"
    suffix = image.path.suffix.lower()
    try:
        return read_file(image.path), suffix if suffix in IMAGE_SUFFIXES else ""
    except TileError as error:
        raise DatasetError(f"{image.path}: {error}") from error
