"""Classification's output: a row an image, all in one file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import TileError, UsageError
from dlcv.runtime.outputs.base import Output
from dlcv.runtime.outputs.predictions import FORMATS, Prediction, prediction_of
from dlcv.runtime.records.journal import Journal, forget_lines
from dlcv.runtime.tiles.tile_list import Tile, TileList

DEFAULT_FORMAT, DEFAULT_TOP_K = "csv", 5


class PredictionTable(Output[Prediction]):
    """Appends a row an image to `predictions.csv` or `predictions.jsonl`.

    Args:
        folder: of the table; it need not be there yet.
        card: its classes.
        file_format: one of `FORMATS`.
        top_k: how many classes a row tells, at least 1; of fewer classes, all.

    Raises:
        UsageError: when the format is unknown, or `top_k` below 1.
    """

    counted = "images"

    def __init__(
        self, folder: Path, card: ModelCard, file_format: str = DEFAULT_FORMAT, top_k: int = DEFAULT_TOP_K
    ) -> None:
        if file_format not in FORMATS:
            raise UsageError(f"unknown format {file_format!r}; it is one of {', '.join(FORMATS)}")
        if top_k < 1:
            raise UsageError(f"top_k is {top_k}, expected at least 1")
        self._classes, self._top_k = card.classes, min(top_k, len(card.classes))
        self._format = FORMATS[file_format](self._top_k)
        self._path = folder / self._format.name
        self._journal = Journal(self._path, self._format.header)
        self._images: Counter[str] = Counter()

    def names(self) -> Iterator[tuple[str, str]]:
        yield self._format.name, "the table of predictions"

    def left(self, tiles: Sequence[Tile], before: Mapping[str, str]) -> TileList:
        there = dict(self._format.classes(self._path)) if self._path.exists() else {}

        def is_left(tile: Tile) -> bool:
            if before.get(tile.key) != self._format.name or tile.key not in there:
                return True
            self._images[there[tile.key]] += 1
            return False

        return TileList(filter(is_left, tiles))

    def clear_up(self, left: Sequence[Tile]) -> None:
        if self._path.exists():
            forget_lines(self._path, self._format.header, {tile.key for tile in left}, self._format.key_of)

    def write(self, tile: Tile, answer: NDArray[np.float32], image_rgb: NDArray[np.uint8] | None = None) -> Prediction:
        if not np.isfinite(answer).all():
            raise TileError("the probabilities are not numbers; export the model in fp32, or look at its training")
        return prediction_of(tile.key, answer, self._classes, self._top_k)

    def note(self, tile: Tile, result: Prediction) -> str:
        self._journal.append(self._format.line(result))
        self._images[result.top[0][0]] += 1
        return self._format.name

    def by_class(self) -> dict[str, int]:
        """Images of each class predicted, those of an earlier run that was resumed among them."""
        return {name: self._images[name] for name in self._classes}

    def __enter__(self) -> PredictionTable:
        self._journal.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._journal.__exit__(kind, error, trace)
