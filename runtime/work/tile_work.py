"""What a run does with one tile before and after the session, wherever it is done: here, or in a worker of a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.outputs.base import Output
from dlcv.runtime.tiles.decode import DecodeOptions, Decoder
from dlcv.runtime.tiles.tile_list import Fingerprint, Tile
from dlcv.runtime.tiles.urls import is_url, read_url

R = TypeVar("R")


@dataclass
class TileWork:
    """A tile on its way through the pipeline.

    Attributes:
        tile: which.
        was: what the file was before any of it was read, so that one that changes while it is read is run again.
        image_rgb: where the output wants it.
    """

    tile: Tile
    was: Fingerprint | None = None
    image_rgb: NDArray[np.uint8] | None = None

    @classmethod
    def of(cls, tile: Tile) -> TileWork:
        """As it goes in; its file is looked at where it is read, so that storage that hangs holds up one thread."""
        return cls(tile)

    def begin(self) -> None:
        """Keeps what the file is, before any of it is read."""
        self.was = self.tile.fingerprint()


class TileHands(Generic[R]):
    """Reads tiles and writes their answers, in any thread.

    Args:
        decode: limits and 16-bit scale.
        output: of the run.
        decoder: with the same limits; None decodes in this process.
    """

    def __init__(self, decode: DecodeOptions, output: Output[R], decoder: Decoder | None = None) -> None:
        self._decode, self._output = decode, output
        self._decoder = decoder or Decoder(decode)

    def read(self, work: TileWork) -> NDArray[np.uint8]:
        """The image: uint8 (h, w, 3), RGB.

        Raises:
            TileError: when it cannot be read.
        """
        work.begin()
        where = work.tile.where
        if is_url(where):
            data = read_url(where, self._decode.max_bytes, work.was.size if work.was is not None else None)
            image_rgb = self._decoder.decode_bytes(data)
        else:
            image_rgb = self._decoder.decode_file(work.tile.path)
        if self._output.needs_image:
            work.image_rgb = image_rgb
        return image_rgb

    def write(self, work: TileWork, answer: NDArray[Any]) -> R:
        """Hands an answer to the output; see `Output.write`."""
        image_rgb, work.image_rgb = work.image_rgb, None  # an outcome waits in an unbounded queue, without its image
        return self._output.write(work.tile, answer, image_rgb)
