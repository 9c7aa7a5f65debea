"""One large image on its way: its windows out to the pipeline, their answers back into its mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.card import ModelCard
from dlcv.runtime.errors import TileError
from dlcv.runtime.large.cog import CogMask, nodata_of
from dlcv.runtime.large.mosaic import Mosaic
from dlcv.runtime.large.source import Source
from dlcv.runtime.outputs.base import Counted
from dlcv.runtime.tiles import Tile


@dataclass(frozen=True)
class LargeSettings:
    """How large images are read.

    Attributes:
        fit: as asked for; None is `windows`, the only one that they are run with.
        overlap: of windows, as a share of their side.
        blend: whether probabilities are blended where windows overlap.
        bands: numbers from 1, one or three; None: by the image's own word, else the first three.
        scale_16bit: see `DecodeOptions`.
    """

    fit: str | None = None
    overlap: float = 0.25
    blend: bool = True
    bands: Sequence[int] | None = None
    scale_16bit: tuple[float, float] | None = None


class NoData(TileError):
    """A window in which no pixel holds data; `counted` is what the image gave if that was its last window."""

    def __init__(self, counted: Counted | None) -> None:
        super().__init__("no data")
        self.counted = counted


@dataclass(frozen=True)
class Part:
    """A window of an image, as an item of the pipeline."""

    run: ImageRun
    row: int
    column: int


class ImageRun:
    """An image that is being run; use `parts`, `read` and `finish` from the pipeline, then `close` in any case.

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
        self._source = Source(tile.path, card.input_size_hw, settings.overlap, settings.bands, settings.scale_16bit)
        try:
            self._mask = CogMask(path, self._source.dataset, card)
        except BaseException:
            self._source.close()
            raise
        rows, columns = self._source.rows, self._source.columns
        self._mosaic = Mosaic(rows, columns, self._mask.write, nodata=nodata_of(card), blend=settings.blend)
        self._valid: dict[tuple[int, int], NDArray[np.bool_] | None] = {}
        self.windows, self.done = len(rows.starts) * len(columns.starts), 0

    def parts(self) -> Iterator[Part]:
        """Its windows, row by row, as long as none of them failed."""
        for row in range(len(self._source.rows.starts)):
            for column in range(len(self._source.columns.starts)):
                if self.ended:
                    return
                yield Part(self, row, column)

    def read(self, part: Part) -> NDArray[np.uint8]:
        """A window, uint8 (H, W, 3), RGB.

        Raises:
            NoData: when there is nothing to be asked about; it is taken for answered.
            TileError: when it cannot be read.
        """
        self._refuse_if_ended()
        image_rgb, valid = self._source.window(part.row, part.column)
        if valid is not None and not valid.any() and self._mask.nodata is not None:
            raise NoData(self._add(part, None, valid))
        self._valid[part.row, part.column] = valid
        return image_rgb

    def finish(self, part: Part, answer: NDArray[Any]) -> Counted | None:
        """Takes the answer about a window; gives what was written when it was the last one.

        Raises:
            TileError: when it cannot be used.
            OutputError: when the mask cannot be written.
        """
        self._refuse_if_ended()
        return self._add(part, answer, self._valid.pop((part.row, part.column)))

    def close(self) -> None:
        """Lets files and memory go; removes the mask where it is not whole."""
        self.ended = True
        self._source.close()
        self._mask.discard()

    def _add(self, part: Part, answer: NDArray[Any] | None, valid: NDArray[np.bool_] | None) -> Counted | None:
        if not self._mosaic.add(part.row, part.column, answer, valid):
            return None
        self._source.close()
        self._mask.finish()
        return Counted(self._mask.pixels, self._mask.square_metres)

    def _refuse_if_ended(self) -> None:
        if self.ended:
            raise TileError("the run of this image has ended")
