"""Whether masks are those of the dataset that they are read as: thresholded colours give a class to nearly anything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.datasets.masks.description import (
    DatasetDescription,
    known_descriptions,
    load_description,
    thresholded,
)
from dlcv.runtime.datasets.masks.labels import labels_of_colours, read_label
from dlcv.runtime.datasets.masks.pairs import Pair
from dlcv.runtime.errors import DatasetError, TileError

LOOKED_AT = 8
"""Masks, spread over all."""
PIXELS = 1 << 16
"""Of each mask, about, in every so many rows and columns."""
NEAR = 64
"""Levels of a channel: a mask's noise, from resampling or from JPEG, stays within."""
FAR_SHARE = 0.1
"""Of the pixels may be further from their class's colour: borders that were resampled."""


def check_likeness(pairs: Sequence[Pair], description: DatasetDescription) -> None:
    """Refuses masks whose colours are not those of the description, though each has a class by its threshold.

    Looks at a few of them; masks that cannot be read are left to those who read them all.

    Raises:
        DatasetError: with a colour that was found, what was expected, and the dataset that ships whose masks these are.
    """
    if description.masks != "colour" or description.threshold is None:
        return
    far, pixels, commonest = 0, 0, (0, "", pairs[0].mask if pairs else Path())
    for pair in _spread(pairs):
        try:
            colours, counts = _colours(pair.mask)
        except TileError:
            continue
        strange = _far(colours, description)
        far, pixels = far + int(counts[strange].sum()), pixels + int(counts.sum())
        if strange.any() and (most := int(counts[strange].max())) > commonest[0]:
            colour = colours[strange][int(np.argmax(counts[strange]))]
            commonest = most, f"({', '.join(str(int(value)) for value in colour)})", pair.mask
    if far <= FAR_SHARE * pixels:
        return
    known = ", ".join(f"{name} {rgb}" for name, rgb in zip(description.classes, description.palette, strict=True))
    raise DatasetError(
        f"the masks are not those of the dataset {description.name}: {far / pixels:.0%} of their pixels are far from all of its colours, such as "
        f"{commonest[1]} in {commonest[2]}; expected {known}; {advice([commonest[2]], description)}"
    )


def check_counted(pairs: Sequence[Pair], description: DatasetDescription) -> None:
    """Refuses masks in which no pixel is of a class that counts: nothing could be learned from them, or said of what was.

    Looks at a few of them, and at all where these have none; masks that cannot be read are left to those who read them all.

    Raises:
        DatasetError: with the classes that were found.
    """
    looked_at = _spread(pairs)
    for pair in [*looked_at, *(pair for pair in pairs if pair not in looked_at)]:
        try:
            if not set(np.unique(read_label(pair, description)).tolist()) <= set(description.uncounted):
                return
        except DatasetError:
            return
    names = " or ".join(description.classes[index] for index in description.uncounted)
    raise DatasetError(
        f"every pixel of the {len(pairs)} masks is {names}, read as the dataset {description.name}, whose other classes alone count; "
        f"{advice([pair.mask for pair in looked_at], description)}"
    )


def advice(masks: Sequence[Path], refused: DatasetDescription) -> str:
    """The end of a sentence: which dataset that ships these masks are of, or how to describe them."""
    for name in known_descriptions():
        if name != refused.name and masks and all(_is_of(mask, load_description(name)) for mask in masks):
            return f"these are masks of {name}: pass --dataset {name}"
    return "say what they mean with --dataset FILE.json, as docs/training.md shows"


def _spread(pairs: Sequence[Pair]) -> list[Pair]:
    return list(pairs[:: max(1, len(pairs) // LOOKED_AT)][:LOOKED_AT])


def _far(colours: NDArray[np.uint8], description: DatasetDescription) -> NDArray[np.bool_]:
    """Of colours (N, 3), whether each is far from its class's colour, as it is written and as it is thresholded."""
    assert description.threshold is not None
    labels, unknown = labels_of_colours(colours[None], description)
    looked_up = [thresholded(colour, description.threshold) for colour in description.palette]
    far: NDArray[np.bool_] = ~unknown[0]  # what is no class at all is told with its place
    for palette in (description.palette, looked_up):
        wanted = np.array(palette, int)[np.where(unknown[0], 0, labels[0])]
        far &= np.abs(colours.astype(int) - wanted).max(1) >= NEAR
    return far


def _colours(mask: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The colours of some pixels, uint8 (N, 3), and how often each was met.

    Raises:
        TileError: when the mask cannot be read.
    """
    from dlcv.runtime.tiles.decode import decode_file

    mask_rgb = decode_file(mask)
    step = max(1, int((mask_rgb[..., 0].size / PIXELS) ** 0.5))
    colours, counts = np.unique(mask_rgb[::step, ::step].reshape(-1, 3), axis=0, return_counts=True)
    return colours, counts.astype(np.int64)


def _is_of(mask: Path, description: DatasetDescription) -> bool:
    """Whether its colours are exactly the description's; of indices a palette PNG shows them."""
    from dlcv.runtime.tiles.decode import decode_file

    try:
        label, mask_rgb = read_label(mask, description), decode_file(mask)
    except (DatasetError, TileError):
        return False
    return label.shape == mask_rgb.shape[:2] and bool(
        (np.array(description.palette, np.uint8)[label] == mask_rgb).all()
    )
