"""Mask files -> class indices, checked: a value or a colour that means nothing is told with its place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.datasets.masks.description import DatasetDescription, thresholded
from dlcv.runtime.datasets.masks.pairs import Pair
from dlcv.runtime.errors import DatasetError, TileError

_KNOWN_SHOWN = 12
_UNKNOWN = 255  # no class: thresholded colours are at most 8
_BIT_VALUES = np.array((4, 2, 1))

Palette = tuple[tuple[int, int, int], ...]


def read_label(pair_or_path: Pair | Path, description: DatasetDescription) -> NDArray[np.uint8]:
    """The class indices of a mask.

    Returns:
        uint8 (H, W), 0..len(description.classes) - 1.

    Raises:
        DatasetError: when the file cannot be read, or holds an index or a colour that is no class.
    """
    path = pair_or_path.mask if isinstance(pair_or_path, Pair) else pair_or_path
    try:
        return _from_indices(path, description) if description.masks == "index" else _from_colours(path, description)
    except TileError as error:
        raise DatasetError(f"cannot read the mask {path}: {error}") from error


def check_sizes(image_rgb: NDArray[np.uint8], label: NDArray[np.uint8], pair: Pair) -> None:
    """Refuses a mask of another size than its image.

    Args:
        image_rgb: uint8 (h, w, 3).
        label: uint8 (h, w).
        pair: named in the message.

    Raises:
        DatasetError: when the two sizes differ.
    """
    if image_rgb.shape[:2] != label.shape:
        image_hw, mask_hw = ("{} x {}".format(*shape[:2]) for shape in (image_rgb.shape, label.shape))
        raise DatasetError(
            f"the mask {pair.mask} is {mask_hw}, its image {pair.image} is {image_hw} (height x width); "
            "expected the same size"
        )


def _from_indices(path: Path, description: DatasetDescription) -> NDArray[np.uint8]:
    from dlcv.runtime.masks import read_mask

    label, count = read_mask(path), len(description.classes)
    if label.size and int(label.max()) >= count:
        row, column = _first(label >= count)
        raise DatasetError(
            f"the mask {path} holds the value {label[row, column]} at row {row}, column {column}; expected class "
            f"indices 0 to {count - 1}, as the dataset {description.name} says"
        )
    return label


def _from_colours(path: Path, description: DatasetDescription) -> NDArray[np.uint8]:
    from dlcv.runtime.tiles.decode import decode_file

    mask_rgb = decode_file(path)
    label, unknown = labels_of_colours(mask_rgb, description)
    if unknown.any():
        raise _unknown_colour(path, mask_rgb, _first(unknown), description)
    return label


def labels_of_colours(
    mask_rgb: NDArray[np.uint8], description: DatasetDescription
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The classes of colours, and where there is none.

    Args:
        mask_rgb: uint8 (H, W, 3), RGB.
        description: of colour masks.

    Returns:
        Class indices, uint8 (H, W), and bool (H, W): True where the colour is no class, and the index means nothing.
    """
    if description.threshold is None:
        return _exact(mask_rgb, description.palette)
    return _thresholded(mask_rgb, description.palette, description.threshold)


def _thresholded(
    mask_rgb: NDArray[np.uint8], palette: Palette, threshold: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Labels and where they are unknown, both (H, W): three bits a pixel, looked up in a table."""
    import cv2

    table = np.full(256, _UNKNOWN, np.uint8)
    for index, colour in enumerate(palette):
        bits = np.array(thresholded(colour, threshold)) > 0
        table[int(bits @ _BIT_VALUES)] = index
    packed = cv2.transform((mask_rgb >= threshold).view(np.uint8), _BIT_VALUES.astype(np.float32)[None])
    label = np.asarray(cv2.LUT(packed, table), np.uint8)
    return label, label == _UNKNOWN


def _exact(mask_rgb: NDArray[np.uint8], palette: Palette) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Labels and where they are unknown, both (H, W): 24 bits a pixel, searched in the sorted palette."""
    wanted, known = _packed(mask_rgb), _packed(np.array(palette, np.uint8))
    order = np.argsort(known)
    place = np.searchsorted(known[order], wanted).clip(max=len(known) - 1)
    unknown: NDArray[np.bool_] = known[order][place] != wanted
    return order.astype(np.uint8)[place], unknown


def _packed(colours: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """uint8 (..., 3) RGB -> uint32 (...): 0xRRGGBB."""
    wide = colours.astype(np.uint32)
    packed: NDArray[np.uint32] = wide[..., 0] * np.uint32(65536) + wide[..., 1] * np.uint32(256) + wide[..., 2]
    return packed


def _first(where: NDArray[np.bool_]) -> tuple[int, int]:
    row, column = divmod(int(np.argmax(where)), where.shape[1])
    return row, column


def _unknown_colour(
    path: Path, mask_rgb: NDArray[np.uint8], at: tuple[int, int], description: DatasetDescription
) -> DatasetError:
    colour = tuple(int(value) for value in mask_rgb[at])
    rule = "" if description.threshold is None else f" (each channel is thresholded at {description.threshold})"
    known = [f"{name} {rgb}" for name, rgb in zip(description.classes, description.palette, strict=True)]
    rest = f" and {len(known) - _KNOWN_SHOWN} more" if len(known) > _KNOWN_SHOWN else ""
    return DatasetError(
        f"the mask {path} holds the colour {colour} at row {at[0]}, column {at[1]}, which is no class of the dataset "
        f"{description.name}{rule}; expected {', '.join(known[:_KNOWN_SHOWN])}{rest}"
    )
