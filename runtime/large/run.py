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
from dlcv.runtime.large.kept import KeptOf, KeptRows
from dlcv.runtime.large.mosaic import STRIP_ROWS, Mosaic
from dlcv.runtime.outputs.base import Counted
from dlcv.runtime.raster.cog import CogMask, nodata_of
from dlcv.runtime.raster.scene import Scene
from dlcv.runtime.raster.source import Source
from dlcv.runtime.raster.sureness import Levels, Sureness
from dlcv.runtime.raster.telling import Telling
from dlcv.runtime.tiles.tile_list import Tile, fingerprint_of

R = TypeVar("R")

KEPT_FROM = 64
"""Windows of an image whose decided rows are kept on the disk: fewer are soon made again."""


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
        resume: go on with what an earlier run kept of an image.
        made_by: a hash of engine and settings, in which such a run has to agree.
    """

    fit: str | None = None
    overlap: float = 0.25
    blend: bool = True
    bands: Sequence[int] | None = None
    scale_16bit: tuple[float, float] | None = None
    sure: bool = False
    resume: bool = False
    made_by: str = ""


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
        self._kept: KeptRows | None = None
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
        self.windows = len(rows.starts) * len(columns.starts)
        if self.windows >= KEPT_FROM:
            self._kept = self._kept_rows()
        self._mosaic = Mosaic(
            rows, columns, self._decided, nodata=nodata_of(card), blend=settings.blend, sure=settings.sure,
            done=() if self._kept is None else self._kept.found,
        )  # fmt: skip
        self._source.only(self._mosaic.rows_left)
        self._valid: dict[tuple[int, int], NDArray[np.bool_] | None] = {}
        self.done = self.windows - len(self._mosaic.rows_left) * len(columns.starts)

    def _kept_rows(self) -> KeptRows:
        """What an earlier run kept, less a strip where nothing would be left to do: the last window ends the image."""
        height, width = self._source.rows.length, self._source.columns.length
        size, mtime_ns = fingerprint_of(self.tile.where) or (0, 0)
        of = KeptOf(size, mtime_ns, height, width, STRIP_ROWS, self._settings.sure, self._settings.made_by)
        kept = KeptRows(self._path, of, resume=self._settings.resume)
        if kept.found == set(range(0, height, STRIP_ROWS)):
            kept.forget(max(kept.found))
        return kept

    def parts(self) -> Iterator[Part]:
        """Its windows that are left to do, row by row, as long as none of them failed."""
        for row in self._mosaic.rows_left:
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
        self._source.close()
        self._take_found(telling)
        telling.begin("masks, with overviews")
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

    def close(self, *, keep: bool = False) -> None:
        """Lets files and memory go; removes the mask where it is not whole.

        Args:
            keep: what is decided is left on the disk for a run that goes on with the image.
        """
        self.ended = True
        self._source.close()
        self._mask.discard()
        if self._sureness is not None:
            self._sureness.discard()
        if self._kept is not None:
            self._kept.close(keep=keep)

    def _decided(self, top: int, rows: NDArray[Any]) -> None:
        """A strip from the mosaic."""
        index, levels = rows, None
        if self._sureness is not None:
            index, levels = np.ascontiguousarray(rows["index"]), self._sureness.levels_of(rows["confidence"])
        self._write(top, index, levels)
        if self._kept is not None:
            self._kept.keep(top, index, levels)

    def _write(self, top: int, index: NDArray[np.uint8], levels: Levels | None) -> None:
        self._mask.write(top, index)
        if self._sureness is not None and levels is not None:
            self._sureness.write(top, levels)

    def _take_found(self, telling: Telling) -> None:
        """What an earlier run had decided."""
        if self._kept is None or not self._kept.found:
            return
        telling.begin("what an earlier run had decided")
        for number, strip in enumerate(self._kept.strips(), 1):
            self._write(*strip)
            telling.reached(number, len(self._kept.found))

    def _refuse_if_ended(self) -> None:
        if self.ended:
            raise TileError("the run of this image has ended")
