"""A task's output with extras around it; the run sees one output."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from types import TracebackType
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.answers import segmented_of
from dlcv.runtime.errors import DlcvError
from dlcv.runtime.machine import cpu_count
from dlcv.runtime.outputs.at_once import at_once
from dlcv.runtime.outputs.base import Counted, Output
from dlcv.runtime.outputs.extras import Extra, Seen, refuse_one_name_twice
from dlcv.runtime.records.manifest import Row
from dlcv.runtime.tiles.tile_list import Tile

R = TypeVar("R")


class WithExtras(Output[tuple[R, list[str]]], Generic[R]):
    """Writes a tile's extras, then its answer.

    Args:
        answers: the task's own output.
        extras: at least one.
        tiles: all that were asked for.
        segmentation: whether an answer is of pixels; the answers then are what `segmented_of` takes.

    Raises:
        UsageError: when an answer and an extra would have one name.
    """

    def __init__(
        self, answers: Output[R], extras: Sequence[Extra], tiles: Sequence[Tile], *, segmentation: bool
    ) -> None:
        self._answers, self._extras, self._tiles = answers, extras, tiles
        self._segmentation = segmentation
        self._open = ExitStack()
        self.counted, self.a_file_a_tile = answers.counted, answers.a_file_a_tile
        self.needs_image = any(extra.needs_image for extra in extras)
        self.needs_confidence = any(extra.needs_confidence for extra in extras)
        every = (kind for extra in extras for kind in (*extra.kinds, *(extra.large_kinds or ())))
        self.kinds = tuple(dict.fromkeys(every))
        refuse_one_name_twice(self.names)

    def names(self) -> Iterator[tuple[str, str]]:
        return chain(self._answers.names(), *(extra.names(self._tiles) for extra in self._extras))

    def left(self, tiles: Sequence[Tile], before: Mapping[str, str]) -> Sequence[Tile]:
        gone = set().union(*(extra.left(tiles) for extra in self._extras))
        return self._answers.left(tiles, {key: name for key, name in before.items() if key not in gone})

    def clear_up(self, left: Sequence[Tile]) -> None:
        self._answers.clear_up(left)
        for extra in self._extras:
            extra.clear_up(left)

    def write(
        self, tile: Tile, answer: NDArray[Any], image_rgb: NDArray[np.uint8] | None = None
    ) -> tuple[R, list[str]]:
        segmented = segmented_of(answer) if self._segmentation else None
        seen = Seen(image_rgb, segmented, answer if segmented is None else None)
        with self._undone(tile):
            texts = [extra.write(tile, seen) for extra in self._extras]
            return self._answers.write(tile, answer if segmented is None else segmented.mask, image_rgb), texts

    def write_large(self, tile: Tile, counted: Counted) -> tuple[R, list[str]]:
        with self._undone(tile):
            works = [partial(self._write_large, extra, tile, counted) for extra in self._extras]
            texts = at_once(works, cpu_count())
            return self._answers.write_large(tile, counted), texts

    def _write_large(self, extra: Extra, tile: Tile, counted: Counted) -> str:
        if counted.scene is None or not (what := extra.what(tile)):
            return extra.write_large(tile, counted)
        telling = counted.scene.telling.another()
        telling.begin(what)
        text = extra.write_large(tile, replace(counted, scene=replace(counted.scene, telling=telling)))
        telling.begin("")
        return text

    @contextmanager
    def _undone(self, tile: Tile) -> Iterator[None]:
        """Takes out what was written of a tile that fails."""
        try:
            yield
        except DlcvError:
            for extra in self._extras:
                extra.undo(tile)
            raise

    def note(self, tile: Tile, result: tuple[R, list[str]]) -> str:
        for extra, text in zip(self._extras, result[1], strict=True):
            extra.note(text)
        return self._answers.note(tile, result[0])

    def beside(self, tile: Tile) -> Sequence[str]:
        return [name for extra in self._extras for name in extra.files(tile)]

    def conclude(self, rows: Iterable[Row]) -> None:
        for extra in self._extras:
            extra.conclude(rows)

    def by_class(self) -> dict[str, int]:
        return self._answers.by_class()

    def __enter__(self) -> WithExtras[R]:
        with ExitStack() as stack:
            stack.enter_context(self._answers)
            for extra in self._extras:
                stack.enter_context(extra)
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)
