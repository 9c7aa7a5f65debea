"""An image of another size to the engine's size, and the result back: the one definition, for training, export and runtime.

Segmentation has three ways (`FITS`):
    windows  the default. A side that is too small is padded by reflection; a side that is too large is covered by
             windows that overlap, the last one flush with the edge. Each pixel of the result comes from the window
             in whose middle it is most: neighbouring windows are cut at the middle of their overlap. Probabilities are
             blended there instead, see `blending.py`.
    pad      a smaller tile is padded by reflection and the result cropped back; a larger tile is refused.
    resize   the tile is resized to the engine's size and the result back, to the nearest pixel. It changes the ground
             resolution that the model was trained on, and the aspect ratio; only where it is asked for.

A tile that fits exactly is passed through without a copy, both ways.

Classification has one, `centre-crop`: the image is scaled until its shorter side is the card's `short_side`, and the middle
of the engine's size is taken (the evaluation transform of Krizhevsky et al. 2012, and of torchvision). Only the part that is
kept is scaled, so that a very long image costs nothing.

With `tta` (see `tta.py`) each window is there several times, turned and flipped, and `join` averages what was said about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.card.card import FITS as FITS_BY_TASK
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import TileError, UsageError
from dlcv.runtime.fitting.blending import Side
from dlcv.runtime.fitting.tta import TTAS, averaged, check_tta, turned

FITS = FITS_BY_TASK["segmentation"]


@dataclass(frozen=True)
class WindowLayout:
    """How the windows of an image lie, and how what is said of them becomes an answer about the image.

    Attributes:
        tile_hw: height and width of the tile, in pixels.
    """

    tile_hw: tuple[int, int]
    _rows: Side
    _columns: Side
    _resized: bool = False
    _whole: bool = False
    _ways: tuple[int, ...] = (0,)
    _blend: bool = True

    @cached_property
    def count(self) -> int:
        """How many windows there are, in all ways."""
        return len(self._rows.starts) * len(self._columns.starts) * len(self._ways)

    @cached_property
    def direct(self) -> bool:
        """Whether the tile is its only window as it is; most tiles are, and nothing else is to be done for them."""
        as_it_is = not self._resized and not self._whole
        return as_it_is and self.count == 1 and self.tile_hw == (self._rows.window, self._columns.window)

    def cut(self, image_rgb: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
        """See `FittedTile.windows`.

        Args:
            image_rgb: uint8 (h, w, 3) of `tile_hw`; where the image is scaled, that of the windows' size, scaled already.
        """
        whole = padded(padded(image_rgb, self._rows, axis=0), self._columns, axis=1)
        height, width = self._rows.window, self._columns.window
        windows = (whole[y : y + height, x : x + width] for y in self._rows.starts for x in self._columns.starts)
        if len(self._ways) == 1:
            return tuple(windows)
        return tuple(turned(window, way) for window in windows for way in self._ways)

    def join(self, results: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """The tile's result from its windows' results.

        Args:
            results: one a window, in their order: (..., H, W), any dtype, such as masks uint8 (H, W) or
                probabilities float32 (C, H, W). The latter are blended, unless that was switched off.

        Returns:
            (..., h, w) of the tile's size, the same dtype; `results[0]` itself where the tile fits exactly, and for
            classification, where a result is of the image as a whole.

        Raises:
            ValueError: when there is another number of results, or one has another size, than the windows; or when turned
                windows come back as anything but probabilities.
        """
        if self.direct and len(results) == 1 and results[0].shape[-2:] == self.tile_hw:
            return results[0]
        if len(self._ways) > 1:
            results = self._turned_back(results)
        if self._whole and len(results) == 1:
            return results[0]
        self._check(results)
        if self._resized:
            return _nearest(results[0], self.tile_hw)
        if len(results) == 1 and self.tile_hw == results[0].shape[-2:]:
            return results[0]
        if self._blend and results[0].dtype == np.float32 and results[0].ndim == 3 and len(results) > 1:
            return self._blended(results)
        joined = np.empty((*results[0].shape[:-2], *self.tile_hw), results[0].dtype)
        left = iter(results)
        for top, bottom, y in self._rows.stretches:
            for begin, end, x in self._columns.stretches:
                joined[..., top:bottom, begin:end] = next(left)[..., y : y + bottom - top, x : x + end - begin]
        return joined

    def _turned_back(self, results: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        self._check_count(results, self.count)
        if any(result.dtype != np.float32 or result.ndim not in (1, 3) for result in results):
            raise ValueError(f"expected probabilities of turned windows, float32, got {results[0].dtype}")
        ways = self._ways
        return [averaged(results[k : k + len(ways)], ways) for k in range(0, len(results), len(ways))]

    def _blended(self, results: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        joined = np.zeros((results[0].shape[0], *self.tile_hw), np.float32)
        left = iter(results)
        for y, down in zip(self._rows.starts, self._rows.weights, strict=True):
            for x, across in zip(self._columns.starts, self._columns.weights, strict=True):
                top, begin = self._rows.pad_before, self._columns.pad_before
                weighted = next(left) * (down[:, None] * across)
                part = joined[:, y : y + self._rows.window, x : x + self._columns.window]
                part += weighted[:, top : top + part.shape[1], begin : begin + part.shape[2]]
        return joined

    def _check_count(self, results: Sequence[NDArray[Any]], count: int) -> None:
        if len(results) != count:
            raise ValueError(f"expected {count} results, one a window, got {len(results)}")

    def _check(self, results: Sequence[NDArray[Any]]) -> None:
        size_hw = (self._rows.window, self._columns.window)
        self._check_count(results, self.count // len(self._ways))
        for result in results:
            if result.shape[-2:] != size_hw or result.shape != results[0].shape:
                raise ValueError(f"expected results (..., {size_hw[0]}, {size_hw[1]}) of one shape, got {result.shape}")


@dataclass(frozen=True)
class FittedTile:
    """A tile as one or more images of the engine's size, made by `fit_tile` or `fit_to_card`.

    Attributes:
        windows: uint8 (H, W, 3) each, RGB, row by row; views of the tile where nothing was padded or resized, so not
            always contiguous. With `tta`, each in all ways before the next one.
        layout: how they lie.
    """

    windows: tuple[NDArray[np.uint8], ...]
    layout: WindowLayout

    @property
    def tile_hw(self) -> tuple[int, int]:
        """Height and width of the tile, in pixels."""
        return self.layout.tile_hw

    def join(self, results: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """See `WindowLayout.join`."""
        return self.layout.join(results)


def fit_to_card(
    image_rgb: NDArray[np.uint8],
    card: ModelCard,
    *,
    fit: str | None = None,
    overlap: float = 0.25,
    blend: bool = True,
    tta: str = "none",
) -> FittedTile:
    """Brings an image to the size that a card's model takes, in the card's way.

    Args:
        image_rgb: uint8 (h, w, 3), RGB, 0..255; h and w at least 1.
        card: its task, input size, fit and evaluation transform decide.
        fit: another way than the card's, for segmentation.
        overlap: of neighbouring windows, as a share of the window's side.
        blend: whether `join` blends probabilities where windows overlap; otherwise it cuts, as it does masks.
        tta: `none`, `flips` or `full`, see `tta.py`; then `join` takes probabilities alone.

    Raises:
        TileError, UsageError: see `fit_tile`; UsageError also when `fit` is not one for the card's task, or `tta` not for its
            input size.
    """
    tile_hw = (image_rgb.shape[0], image_rgb.shape[1])
    if card.task == "segmentation":
        layout = _layout(tile_hw, card.input_size_hw, fit or card.fit, overlap, blend, tta)
        if layout.direct:
            return FittedTile((image_rgb,), layout)
        return FittedTile(layout.cut(_scaled(image_rgb, card.input_size_hw, fit or card.fit)), layout)
    if fit not in (None, card.fit):
        raise UsageError(f"fit {fit!r} is for segmentation; {card.model} classifies and takes its card's {card.fit}")
    layout = _layout_of_whole(tile_hw, card.input_size_hw, tta)
    return FittedTile(
        layout.cut(centre_crop(image_rgb, card.input_size_hw, card.short_side, card.interpolation)), layout
    )


def centre_crop(
    image_rgb: NDArray[np.uint8], size_hw: tuple[int, int], short_side: int, interpolation: str
) -> NDArray[np.uint8]:
    """The middle of an image whose shorter side is `short_side`.

    The part of the image that is kept, its sides rounded to whole pixels, is scaled to `size_hw`; where the shorter side is
    `short_side` already nothing is scaled, and the result is a view.

    Args:
        image_rgb: uint8 (h, w, 3), RGB, 0..255.
        size_hw: height and width of the result, in pixels.
        short_side: at least both of `size_hw`, in pixels.
        interpolation: `area`, `linear` or `cubic`.

    Returns:
        uint8 (H, W, 3) of `size_hw`.
    """
    scale = min(image_rgb.shape[:2]) / short_side
    kept = [
        min(length, max(1, round(side * scale))) for side, length in zip(size_hw, image_rgb.shape[:2], strict=False)
    ]
    top, left = ((length - side) // 2 for side, length in zip(kept, image_rgb.shape[:2], strict=False))
    return resized(image_rgb[top : top + kept[0], left : left + kept[1]], size_hw, interpolation)


def fit_tile(image_rgb: NDArray[np.uint8], size_hw: tuple[int, int], fit: str, overlap: float = 0.25) -> FittedTile:
    """Brings a tile to the engine's size.

    Args:
        image_rgb: uint8 (h, w, 3), RGB, 0..255; h and w at least 1.
        size_hw: height and width of the engine's input, in pixels.
        fit: one of `FITS`.
        overlap: of neighbouring windows, as a share of the window's side, 0 up to below 1.

    Raises:
        TileError: when `fit` is `pad` and the tile is larger than the engine's input.
        UsageError: when `fit` is unknown or `overlap` out of range.
    """
    layout = _layout((image_rgb.shape[0], image_rgb.shape[1]), size_hw, fit, overlap, True, "none")
    return FittedTile(layout.cut(_scaled(image_rgb, size_hw, fit)), layout)


@lru_cache(maxsize=256)  # a folder's tiles are of few sizes
def _layout(
    tile_hw: tuple[int, int], size_hw: tuple[int, int], fit: str, overlap: float, blend: bool, tta: str
) -> WindowLayout:
    check_tta(tta, size_hw)
    if fit not in FITS:
        raise UsageError(f"unknown fit {fit!r}; it is one of {', '.join(FITS)}")
    if not 0 <= overlap < 1:
        raise UsageError(f"the overlap of windows is {overlap:g}, expected 0 or more and less than 1")
    if fit == "pad" and (tile_hw[0] > size_hw[0] or tile_hw[1] > size_hw[1]):
        raise TileError(
            f"tile is {tile_hw[0]} x {tile_hw[1]}, the engine takes {size_hw[0]} x {size_hw[1]}; pass --fit windows"
        )
    if fit == "resize":
        rows, columns = (Side.of(side, side, 0.0) for side in size_hw)
        return WindowLayout(tile_hw, rows, columns, _resized=True, _ways=TTAS[tta], _blend=blend)
    rows, columns = (Side.of(n, window, overlap) for n, window in zip(tile_hw, size_hw, strict=True))
    return WindowLayout(tile_hw, rows, columns, _ways=TTAS[tta], _blend=blend)


@lru_cache(maxsize=256)
def _layout_of_whole(tile_hw: tuple[int, int], size_hw: tuple[int, int], tta: str) -> WindowLayout:
    check_tta(tta, size_hw)
    rows, columns = (Side.of(side, side, 0.0) for side in size_hw)
    return WindowLayout(tile_hw, rows, columns, _whole=True, _ways=TTAS[tta])


def _scaled(image_rgb: NDArray[np.uint8], size_hw: tuple[int, int], fit: str) -> NDArray[np.uint8]:
    return resized(image_rgb, size_hw) if fit == "resize" else image_rgb


def padded(image: NDArray[Any], side: Side, axis: int) -> NDArray[Any]:
    """An axis of an image as long as a window, by reflection on both sides; as it is where it is long enough."""
    if side.length >= side.window:
        return image
    # reflection without repeating the edge, as often as needed: 3 2 1 | 0 1 2 3 | 2 1 0 1 ...
    period = max(1, 2 * (side.length - 1))
    position = (np.arange(side.window) - side.pad_before) % period
    return np.take(image, np.minimum(position, period - position) if side.length > 1 else position * 0, axis=axis)


def resized(image: NDArray[np.uint8], size_hw: tuple[int, int], interpolation: str = "area") -> NDArray[np.uint8]:
    """uint8 (h, w, 3) -> uint8 (H, W, 3); `area` averages what shrinks and interpolates linearly what grows."""
    import cv2

    grow = {"area": cv2.INTER_LINEAR, "linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}[interpolation]
    steps = [(grow, size_hw)]
    if interpolation == "area":  # a tile may shrink in height and grow in width, or the other way round
        steps.insert(0, (cv2.INTER_AREA, (min(image.shape[0], size_hw[0]), min(image.shape[1], size_hw[1]))))
    for method, (height, width) in steps:
        if image.shape[:2] != (height, width):
            image = np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)
    return image


def _nearest(result: NDArray[Any], size_hw: tuple[int, int]) -> NDArray[Any]:
    """(..., H, W) -> (..., h, w): the value at each new pixel's centre (cv2.INTER_NEAREST takes its corner)."""
    axes = ((-2, size_hw[0]), (-1, size_hw[1]))
    # whole rows are copied far quicker than single values are picked, so what grows in height does so last
    for axis, length in reversed(axes) if size_hw[0] > result.shape[-2] else axes:
        if result.shape[axis] != length:
            result = np.take(result, (2 * np.arange(length) + 1) * result.shape[axis] // (2 * length), axis=axis)
    return result
