"""One large image on its way: its windows out to the pipeline, their answers back into its mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import TileError
from dlcv.runtime.large.cog import CogMask, nodata_of
from dlcv.runtime.large.mosaic import Mosaic
from dlcv.runtime.large.scene import Scene
from dlcv.runtime.large.source import Source
from dlcv.runtime.large.sureness import Sureness
from dlcv.runtime.large.telling import Telling
from dlcv.runtime.outputs.base import Counted
from dlcv.runtime.tiles.tile_list import Tile

R = TypeVar("R")


@dataclass(frozen=True)
class LargeSettings:
    """How large images are read.

    Attributes:
        fit: as asked for; None is `windows`, the only one that they are run with.
        overlap: of windows, as a share of their side.
        blend: whether probabilities are blended where windows overlap.
        bands: numbers from 1, one or three; None: by the image's own word, else the first three.
        scale_16bit: see `DecodeOptions`.
        sure: whether the confidence of each pixel is wanted; the answers then tell it.
    """

    fit: str | None = None
    overlap: float = 0.25
    blend: bool = True
    bands: Sequence[int] | None = None
    scale_16bit: tuple[float, float] | None = None
    sure: bool = False


@dataclass(frozen=True)
class Part:
    """A window of an image, as an item of the pipeline."""

    run: ImageRun
    row: int
    column: int


class ImageRun:
    """An image that is being run; use `parts`, `read` and `finish` from the pipeline, `end` after the last, then `close` in any case.

    Args:
        tile: the image.
        path: of its mask.
        card: of the engine.
        settings: see `LargeSettings`.

    Raises:
        TileError: when the image cannot be opened or used.
        OutputError: when the mask cannot be written.
    """

    def __init__(self, tile: Tile, path: Path, card: ModelCard, settings: LargeSettings) -> None:
        if settings.fit not in (None, "windows"):
            raise TileError(f"georeferenced and very large images are run in windows; leave out --fit {settings.fit}")
        self.tile, self.ended = tile, False
        self._settings, self._path = settings, path
        self._sureness: Sureness | None = None
        self._source = Source(tile.path, card.input_size_hw, settings.overlap, settings.bands, settings.scale_16bit)
        try:
            self._mask = CogMask(path, self._source.dataset, card)
            if settings.sure:
                with_nodata = self._mask.nodata is not None
                self._sureness = Sureness(path, self._source.dataset, with_nodata=with_nodata)
        except BaseException:
            self._source.close()
            if hasattr(self, "_mask"):
                self._mask.discard()
            raise
        rows, columns = self._source.rows, self._source.columns
        self._mosaic = Mosaic(
            rows, columns, self._write, nodata=nodata_of(card), blend=settings.blend, sure=settings.sure
        )
        self._valid: dict[tuple[int, int], NDArray[np.bool_] | None] = {}
        self.windows, self.done = len(rows.starts) * len(columns.starts), 0

    def parts(self) -> Iterator[Part]:
        """Its windows, row by row, as long as none of them failed."""
        for row in range(len(self._source.rows.starts)):
            for column in range(len(self._source.columns.starts)):
                if self.ended:
                    return
                yield Part(self, row, column)

    def read(self, part: Part) -> NDArray[np.uint8] | None:
        """A window, uint8 (H, W, 3), RGB; None when no pixel of it holds data, so that there is nothing to be asked about.

        Raises:
            TileError: when it cannot be read.
        """
        self._refuse_if_ended()
        image_rgb, valid = self._source.window(part.row, part.column)
        self._valid[part.row, part.column] = valid
        return None if valid is not None and not valid.any() and self._mask.nodata is not None else image_rgb

    def finish(self, part: Part, answer: NDArray[Any] | None) -> bool:
        """Takes the answer about a window, None where `read` gave None; True when it was the last one.

        Raises:
            TileError: when it cannot be used.
            OutputError: when the mask cannot be written.
        """
        self._refuse_if_ended()
        return self._mosaic.add(part.row, part.column, answer, self._valid.pop((part.row, part.column)))

    def end(self, written: Callable[[Tile, Counted], R], say: Callable[[str], None]) -> R:
        """Gives the mask its name and tells what it holds; to be called after the last window, once.

        Args:
            written: makes what else is wanted of it. Where that fails, the mask is removed.
            say: takes what is being made.

        Raises:
            TileError, OutputError: as `written`, or when the mask cannot be written.
        """
        telling = Telling(say)
        telling.begin("masks, with overviews")
        self._source.close()
        self._mask.finish()
        telling.begin("")
        size_hw = self._source.rows.length, self._source.columns.length
        settings, no_data = self._settings, self._mask.nodata
        try:
            scene = Scene(
                self.tile.path, self._path, size_hw, no_data, settings.bands, settings.scale_16bit,
                self._mask.row_metres, self._sureness, 0 if no_data is None else int(self._mask.pixels[no_data]),
                telling,
            )  # fmt: skip
            sure = None if self._sureness is None else self._sureness.end()
            return written(self.tile, Counted(self._mask.pixels, self._mask.square_metres, sure, scene))
        except BaseException:
            self._mask.remove()
            raise

    def close(self) -> None:
        """Lets files and memory go; removes the mask where it is not whole."""
        self.ended = True
        self._source.close()
        self._mask.discard()
        if self._sureness is not None:
            self._sureness.discard()

    def _write(self, top: int, rows: NDArray[Any]) -> None:
        """A strip from the mosaic."""
        if self._sureness is None:
            self._mask.write(top, rows)
        else:
            self._mask.write(top, np.ascontiguousarray(rows["index"]))
            self._sureness.write(top, np.ascontiguousarray(rows["confidence"]))

    def _refuse_if_ended(self) -> None:
        if self.ended:
            raise TileError("the run of this image has ended")
