"""The pictures of one run, drawn from its record and, where there is data, from what its best checkpoint says about it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dlcv.train.pictures.classes import draw_classes
from dlcv.train.pictures.confusion import confused_pairs, draw_confusion, normalised
from dlcv.train.pictures.curves import draw_curves
from dlcv.train.pictures.keep import Table, keep, write_table
from dlcv.train.pictures.masks import TileMasks, draw_masks
from dlcv.train.pictures.picture import Picture
from dlcv.train.report.judged import Judged
from dlcv.train.report.record import HEADLINES, PER_CLASS, RunRecord

UNITS = {"segmentation": "pixels", "classification": "images"}


def draw_history(run: RunRecord, folder: Path) -> list[Picture]:
    """The curves; nothing where the run kept no history."""
    if not run.rows:
        return []
    curves, score = run.curves(), HEADLINES[run.headline]
    caption = (
        f"Left: the mean loss of each epoch. Right: {score} on the validation images; the star is the best epoch, whose weights "
        f"are best.pt, and the dotted line is what always saying the commonest class would give."
    )
    columns = ("epoch", "train_loss", "validation_loss", f"validation_{run.headline}", f"training_{run.headline}")
    rows = zip(curves.epochs, curves.train_loss, curves.validation_loss, curves.score, curves.train_score, strict=True)
    return [keep(folder, "curves", draw_curves([curves]), title="Curves", caption=caption, table=(columns, rows))]


def draw_per_class(run: RunRecord, judged: Judged | None, folder: Path) -> list[Picture]:
    """IoU or recall of each class: of the images that were judged, else as the history has it."""
    card, name = run.best.card, PER_CLASS[run.headline]
    values = list(judged.scores.per_class) if judged else run.per_class()
    if all(map(math.isnan, values)):
        return []
    mean = (judged.scores.figures() if judged else {k: _score(run, k) for k in ("mean_iou", "balanced_accuracy")}).get(
        "mean_iou" if card.task == "segmentation" else "balanced_accuracy", math.nan
    )
    names = [name + (" (not counted)" if k in card.uncounted else "") for k, name in enumerate(card.classes)]
    what = (
        "the share of a class's pixels, true or predicted, that are both"
        if name == "IoU"
        else "the share of a class's images that are found"
    )
    caption = f"{name}: {what}; the dashed line is the mean. Of {judged.where if judged else 'the best epoch, from history.csv'}."
    figure = draw_classes(names, values, name, mean)
    table: Table = (("class", name.lower()), zip(card.classes, values, strict=True))
    return [
        keep(
            folder, "classes", figure, title=f"{name[0].upper()}{name[1:]} of each class", caption=caption, table=table
        )
    ]


def draw_confusions(run: RunRecord, judged: Judged, folder: Path) -> list[Picture]:
    """The matrix absolute and normalised; `confused.csv` beside them."""
    classes, unit = run.best.card.classes, UNITS[run.best.card.task]
    shares = normalised(judged.confusion)
    tables: Sequence[tuple[str, bool, Any]] = (
        ("confusion", False, judged.confusion),
        ("confusion-normalised", True, shares),
    )
    captions = (
        f"Rows are the true classes, columns what was predicted, in {unit}; right answers lie on the diagonal. Of {judged.where}.",
        f"Each row as shares of its true class: the diagonal is the recall. Grey rows are classes that do not occur. Of {judged.where}.",
    )
    found = []
    for (name, normal, matrix), caption in zip(tables, captions, strict=True):
        figure = draw_confusion(judged.confusion, classes, unit, shares=normal)
        rows = ([label, *row] for label, row in zip(classes, matrix.tolist(), strict=True))
        title = "Confusion, normalised" if normal else "Confusion"
        found.append(keep(folder, name, figure, title=title, caption=caption, table=(("true", *classes), rows)))
    pairs = confused_pairs(judged.confusion, classes, most=len(classes) ** 2)
    rows = ([pair.true, pair.predicted, pair.count, pair.share] for pair in pairs)
    write_table(folder / "confused.csv", ("true", "predicted", unit, "share_of_true"), rows)
    return found


def draw_tiles(run: RunRecord, judged: Judged, folder: Path) -> list[Picture]:
    """Masks beside image and truth; nothing for a classifier."""
    if not judged.tiles:
        return []
    card = run.best.card
    tiles = [TileMasks(tile.name, tile.image_rgb, few_masks(tile.masks)) for tile in judged.tiles]
    rows = [
        (tile.name, heading, float(np.mean(mask == tile.masks["truth"])), *_shares(mask, len(card.classes)))
        for tile in judged.tiles
        for heading, mask in tile.masks.items()
    ]
    caption = "Validation tiles beside their truth and what the model said; colours below. "
    early = any(heading.startswith("epoch") for tile in tiles for heading in tile.masks)
    caption += "" if early else "The run kept no masks of earlier epochs: train with --snapshot-epochs 1,middle,last."
    table: Table = (("tile", "mask", "share_right", *(f"share_{name}" for name in card.classes)), rows)
    return [
        keep(
            folder, "masks", draw_masks(tiles, card.classes, card.palette), title="Masks", caption=caption, table=table
        )
    ]


def few_masks(masks: Mapping[str, Any]) -> dict[str, Any]:
    """The truth and, of the epochs, an early, a middle and the final one; the best where the final one is not it."""
    epochs = [heading for heading in masks if heading.startswith("epoch ")]
    best = next(heading for heading in masks if heading.startswith("best"))
    chosen = list(dict.fromkeys([*epochs[:1], *epochs[len(epochs) // 2 : len(epochs) // 2 + 1], *epochs[-1:]]))
    if not epochs or best != f"best, {epochs[-1]}":
        chosen.append(best)
    return {heading: masks[heading] for heading in ("truth", *chosen)}


def _shares(mask: Any, classes: int) -> list[float]:
    counts = np.bincount(mask.ravel(), minlength=classes)[:classes]
    return [float(count / mask.size) for count in counts]


def _score(run: RunRecord, name: str) -> float:
    value = run.best.scores.get(name, math.nan)
    return float(value) if isinstance(value, (int, float)) else math.nan
