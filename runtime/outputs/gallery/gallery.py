"""The gallery as an extra: thumbnails and a row while the run goes, the page at its end.

What a tile needs stands in files when its manifest row does, so a resumed run makes the page of all its tiles, and memory is
bounded: a row a tile while the page is written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.files import make_folder, remove_partials
from dlcv.runtime.masks import encode_mask
from dlcv.runtime.outputs.base import Counted
from dlcv.runtime.outputs.beside import MASK_THUMBNAIL, OVERLAY_TIF, THUMBNAIL, beside
from dlcv.runtime.outputs.confidence import known, mean_of
from dlcv.runtime.outputs.extras import Extra, Seen, TableExtra, scene_of
from dlcv.runtime.outputs.gallery.page import PageTile, write_page
from dlcv.runtime.outputs.mask_folder import class_pixels
from dlcv.runtime.outputs.named_files import NamedFiles
from dlcv.runtime.records.journal import csv_line
from dlcv.runtime.records.manifest import DONE, Row
from dlcv.runtime.tiles.tile_list import Tile

THUMBNAIL_SIDE = 320
"""The longer side of a thumbnail, in pixels; smaller images keep their size."""
LARGE_SIDE = 1024
"""Of a large image: its overlay is no picture that a browser shows, so this is what is seen of it."""
PAGE = "gallery/index.html"
_TOP = 5
"""Classes that a classifier's tile is shown with."""


class Gallery(TableExtra):
    """`gallery/`: a page, thumbnails, and `tiles.csv`, from which the page is made.

    Args:
        folder: of the run.
        card: its classes, palette and head: with probabilities each tile gets a confidence.
        pictures: kind of the overlays that the run writes too, which the page then shows large; None for none.
        large: keys of the large images, whose overlays are of another kind.
    """

    name = "gallery/tiles.csv"
    columns = ("width", "height", "confidence", "classes")
    needs_image = True

    def __init__(self, folder: Path, card: ModelCard, pictures: str | None = None, large: Collection[str] = ()) -> None:
        super().__init__(folder)
        self._card, self._pictures, self._large = card, pictures, large
        self._segments = card.task == "segmentation"
        self.needs_confidence = self._segments and card.head in ("probs", "logits")
        self.kinds = (THUMBNAIL, MASK_THUMBNAIL) if self._segments else (THUMBNAIL,)
        self._files = NamedFiles(folder)

    def names(self, tiles: Sequence[Tile]) -> Iterator[tuple[str, str]]:
        yield self.name, "the gallery's table"
        yield PAGE, "the gallery's page"
        for tile in tiles:
            for kind in self.kinds:
                yield beside(kind, tile.key), f"the thumbnail of {tile.key}"

    def left(self, tiles: Sequence[Tile]) -> set[str]:
        return Extra.left(self, tiles) | super().left(tiles)

    def clear_up(self, left: Sequence[Tile]) -> None:
        super().clear_up(left)
        remove_partials(self.folder / "gallery")

    def write(self, tile: Tile, seen: Seen) -> str:
        text = super().write(tile, seen)
        for kind, data in zip(self.kinds, self._thumbnails(seen)):
            self._files.write(beside(kind, tile.key), data)
        return text

    def rows(self, seen: Seen) -> Iterable[Sequence[str]]:
        height, width = seen.image.shape[:2]
        if seen.probs is not None:
            best = np.argsort(-seen.probs, kind="stable")[:_TOP].tolist()
            values = [(index, f"{seen.probs[index]:.4g}") for index in best]
            confidence = values[0][1]
        else:
            values = _counted(class_pixels(seen.mask))
            confidence = f"{mean_of(known(seen)):.4f}" if self.needs_confidence else ""
        return [_row(width, height, confidence, values)]

    def write_large(self, tile: Tile, counted: Counted) -> str:
        scene = scene_of(counted)
        (height, width), known_classes = scene.size_hw, counted.pixels[: len(self._card.classes)]
        confidence = "" if counted.sure is None else f"{counted.sure[0]:.4f}"
        image, mask = scene.preview(LARGE_SIDE)
        for kind, data in zip(self.kinds, (_encoded(image), encode_mask(mask, self._card.palette)), strict=True):
            self._files.write(beside(kind, tile.key), data)
        return csv_line((tile.key, *_row(width, height, confidence, _counted(known_classes))))

    def _thumbnails(self, seen: Seen) -> Iterable[bytes]:
        yield _jpeg(seen.image)
        if self._segments:
            height, width = _thumbnail_hw(seen.image)
            small = cv2.resize(seen.mask, (width, height), interpolation=cv2.INTER_NEAREST)
            yield encode_mask(np.asarray(small, np.uint8), self._card.palette)

    def conclude(self, rows: Iterable[Row]) -> None:
        facts = {key: values for key, *values in self.table()}
        write_page(self.folder / PAGE, self._card, (self._page_tile(row, facts.get(row.path)) for row in rows))

    def _page_tile(self, row: Row, facts: Sequence[str] | None) -> PageTile:
        if row.status != DONE or facts is None:
            return PageTile(row.path, reason=row.reason or "there is no row of it in the gallery's table")
        width, height, confidence, classes = facts
        pairs = (pair.split(":") for pair in classes.split())
        image, *mask = (beside(kind, row.path) for kind in self.kinds)
        pictures = self._pictures and (OVERLAY_TIF if row.path in self._large else self._pictures)
        return PageTile(
            row.path, width=int(width), height=int(height), confidence=float(confidence) if confidence else None,
            classes=tuple((int(index), float(value)) for index, value in pairs), image=image, mask=mask[0] if mask else "",
            output=row.output if self._segments else "", picture=beside(pictures, row.path) if pictures else "",
        )  # fmt: skip

    def __enter__(self) -> Gallery:
        make_folder(self.folder / "gallery")
        (self.folder / PAGE).unlink(missing_ok=True)  # of an earlier run that this one goes on with
        return super().__enter__()


def _thumbnail_hw(image: NDArray[np.uint8]) -> tuple[int, int]:
    height, width = image.shape[:2]
    scale = min(1.0, THUMBNAIL_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _counted(pixels: NDArray[np.int64]) -> list[tuple[int, str]]:
    return [(index, str(pixels[index])) for index in np.flatnonzero(pixels).tolist()]


def _row(width: int, height: int, confidence: str, values: Iterable[tuple[int, str]]) -> tuple[str, ...]:
    return str(width), str(height), confidence, " ".join(f"{index}:{value}" for index, value in values)


def _jpeg(image_rgb: NDArray[np.uint8]) -> bytes:
    height, width = _thumbnail_hw(image_rgb)
    return _encoded(np.asarray(cv2.resize(image_rgb, (width, height), interpolation=cv2.INTER_AREA), np.uint8))


def _encoded(small: NDArray[np.uint8]) -> bytes:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 82])
    return bytes(data)
