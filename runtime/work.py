"""What a run does with one tile before and after the session, wherever it is done: here, or in a worker of a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.decode import DecodeOptions, decode_bytes, decode_file
from dlcv.runtime.outputs.base import Output
from dlcv.runtime.tiles import Tile
from dlcv.runtime.urls import is_url, read_url

R = TypeVar("R")


@dataclass
class TileWork:
    """A tile on its way through the pipeline, with its image where the output wants it."""

    tile: Tile
    image_rgb: NDArray[np.uint8] | None = None


class TileHands(Generic[R]):
    """Reads tiles and writes their answers, in any thread.

    Args:
        decode: limits and 16-bit scale.
        output: of the run.
    """

    def __init__(self, decode: DecodeOptions, output: Output[R]) -> None:
        self._decode, self._output = decode, output

    def read(self, work: TileWork) -> NDArray[np.uint8]:
        """The image: uint8 (h, w, 3), RGB.

        Raises:
            TileError: when it cannot be read.
        """
        where = work.tile.where
        if is_url(where):
            image_rgb = decode_bytes(read_url(where, self._decode.max_bytes), self._decode)
        else:
            image_rgb = decode_file(work.tile.path, self._decode)
        if self._output.needs_image:
            work.image_rgb = image_rgb
        return image_rgb

    def write(self, work: TileWork, answer: NDArray[Any]) -> R:
        """Hands an answer to the output; see `Output.write`."""
        image_rgb, work.image_rgb = work.image_rgb, None  # an outcome waits in an unbounded queue, without its image
        return self._output.write(work.tile, answer, image_rgb)
