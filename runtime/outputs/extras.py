"""What is written beside the answers because somebody asked for it: a contract, and the two shapes that extras have.

An extra is whole before the tile's row is in the manifest. `WithExtras` puts extras around the output of a task.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.answers import Segmented
from dlcv.runtime.errors import UsageError
from dlcv.runtime.files import remove_partials, write_bytes
from dlcv.runtime.outputs.base import Counted
from dlcv.runtime.outputs.beside import beside
from dlcv.runtime.outputs.named_files import NamedFiles
from dlcv.runtime.records.journal import Journal, csv_line, csv_rows, csv_values, is_torn, whole_lines
from dlcv.runtime.records.manifest import Row
from dlcv.runtime.records.resume import FilesThere
from dlcv.runtime.tiles.tile_list import Tile
from dlcv.runtime.tiles.twins import twins

if TYPE_CHECKING:
    from dlcv.runtime.raster.scene import Scene


@dataclass(frozen=True)
class Seen:
    """What there is to know about a tile once the session has answered.

    Attributes:
        image_rgb: uint8 (h, w, 3), RGB; None where no extra asked for it.
        segmented: mask, and confidence where an extra asked for it; None for a classifier.
        probs: a classifier's probabilities, float32 (C,); None for segmentation.
    """

    image_rgb: NDArray[np.uint8] | None = None
    segmented: Segmented | None = None
    probs: NDArray[np.float32] | None = None

    @property
    def image(self) -> NDArray[np.uint8]:
        """The image, by an extra that `needs_image`."""
        assert self.image_rgb is not None, "an extra that needs the image says so in needs_image"
        return self.image_rgb

    @property
    def mask(self) -> NDArray[np.uint8]:
        """uint8 (h, w), class indices; for segmentation."""
        assert self.segmented is not None, "masks are of segmentation"
        return self.segmented.mask

    @property
    def confidence(self) -> NDArray[np.float32] | None:
        """float32 (h, w), 0..1; None where it is not known."""
        return self.segmented.confidence if self.segmented is not None else None


E = TypeVar("E", bound="Extra")


class Extra(ABC):
    """Something beside the answers; called as an `Output` is.

    Attributes:
        needs_image: whether `write` wants the image; else it may be missing.
        needs_confidence: whether `write` wants the confidence of each pixel.
        kinds: of files that it writes for each tile, see `beside.py`.
        large_kinds: of those for a `large` tile; None: the same.
    """

    needs_image = False
    needs_confidence = False
    kinds: tuple[str, ...] = ()
    large_kinds: tuple[str, ...] | None = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def kinds_of(self, tile: Tile) -> tuple[str, ...]:
        """Of the files that it writes for this tile."""
        return self.kinds if self.large_kinds is None or not tile.large else self.large_kinds

    def what(self, tile: Tile) -> str:
        """What takes its time for this tile, in a word, such as `polygons`; empty where nothing does."""
        return next((kind.split(".")[0] for kind in self.kinds_of(tile)), "")

    def names(self, tiles: Sequence[Tile]) -> Iterator[tuple[str, str]]:
        """What would be written: its path below the output folder, and what it is, in words."""
        for tile in tiles:
            for kind in self.kinds_of(tile):
                yield beside(kind, tile.key), f"{kind.split('.')[0]} of {tile.key}"

    def files(self, tile: Tile) -> Sequence[str]:
        """Those that are of this tile alone, by their path below the output folder."""
        return [beside(kind, tile.key) for kind in self.kinds_of(tile)]

    def left(self, tiles: Sequence[Tile]) -> set[str]:
        """Keys of the tiles for which it is not there."""
        there = FilesThere(self.folder)
        return {tile.key for tile in tiles if not all(name in there for name in self.files(tile))}

    def clear_up(self, left: Sequence[Tile]) -> None:
        """Takes out what an interrupted run left of these tiles."""
        for folder in {(self.folder / beside(kind, tile.key)).parent for tile in left for kind in self.kinds_of(tile)}:
            remove_partials(folder)

    def undo(self, tile: Tile) -> None:
        """Takes out what `write` wrote of a tile that failed after it."""
        for kind in self.kinds_of(tile):
            with suppress(OSError):  # what stopped the tile is what to tell
                (self.folder / beside(kind, tile.key)).unlink(missing_ok=True)

    @abstractmethod
    def write(self, tile: Tile, seen: Seen) -> str:
        """Writes it, in any thread; returns what `note` shall have.

        Raises:
            TileError: when it cannot be made of this tile.
            OutputError: when nothing can be written.
        """

    def write_large(self, tile: Tile, counted: Counted) -> str:
        """As `write`, of a large tile; for segmentation."""
        raise NotImplementedError

    def note(self, text: str) -> None:
        """Ends what `write` began, in the run's own thread."""
        return None

    def conclude(self, rows: Iterable[Row]) -> None:
        """Makes what is of the whole run, from the manifest's rows, when all tiles are through; each loop over `rows` reads them anew."""
        return None

    def __enter__(self: E) -> E:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class FileExtra(Extra):
    """A file a tile.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._files = NamedFiles(folder)

    def write(self, tile: Tile, seen: Seen) -> str:
        for kind, data in zip(self.kinds, self.encode(seen), strict=True):
            self._files.write(beside(kind, tile.key), data)
        return ""

    @abstractmethod
    def encode(self, seen: Seen) -> tuple[bytes, ...]:
        """The files' bytes, in the order of `kinds`."""


T = TypeVar("T", bound="TableExtra")


class TableExtra(Extra):
    """Rows in a CSV journal, any number a tile (see `journal.py`); the first column is `path`, the tile's key.

    Attributes:
        name: of the file, below the output folder.
        columns: behind `path`.
    """

    name: str
    columns: tuple[str, ...]

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._header = csv_line(("path", *self.columns))
        self._journal = Journal(folder / self.name, self._header)

    def names(self, tiles: Sequence[Tile]) -> Iterator[tuple[str, str]]:
        yield self.name, f"the table {self.name}"

    def left(self, tiles: Sequence[Tile]) -> set[str]:
        there = dict.fromkeys(row[0] for row in self.table())
        if there and is_torn(
            self.folder / self.name
        ):  # as a power cut leaves it: the last tile may have lost whole rows, too
            there.popitem()
        return {tile.key for tile in tiles} - set(there)

    def clear_up(self, left: Sequence[Tile]) -> None:
        path, gone = self.folder / self.name, {tile.key for tile in left}
        if path.exists():
            lines = list(whole_lines(path))
            kept = [line for line in lines if line == self._header or not gone.intersection(csv_values(line)[:1])]
            if kept != lines:
                write_bytes(path, "".join(kept).encode())

    def write(self, tile: Tile, seen: Seen) -> str:
        return "".join(csv_line((tile.key, *values)) for values in self.rows(seen))

    @abstractmethod
    def rows(self, seen: Seen) -> Iterable[Sequence[str]]:
        """A tile's rows, the values of `columns`."""

    def note(self, text: str) -> None:
        self._journal.append(text)

    def table(self) -> Iterable[list[str]]:
        """The rows that are there, `path` first."""
        path = self.folder / self.name
        return csv_rows(path, ("path", *self.columns), f"the table {self.name}") if path.exists() else ()

    def __enter__(self: T) -> T:
        self._journal.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._journal.__exit__(kind, error, trace)


def scene_of(counted: Counted) -> Scene:
    """The image, by an extra that is made of it."""
    assert counted.scene is not None, "a large image comes with its scene"
    return counted.scene


def refuse_one_name_twice(names: Callable[[], Iterable[tuple[str, str]]]) -> None:
    """Sees to it that no two things have one name.

    Args:
        names: gives names and what they are in words, each time from the start.

    Raises:
        UsageError: when two, such as a mask and an extra, would.
    """
    for name, first, what in twins(names):
        raise UsageError(
            f"{first} and {what} would both be {name}; give another --name-template, or rename that folder of tiles"
        )
