"""Where the answers of a run go, behind one contract: a sibling a task, and the run itself knows neither."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.records.manifest import Row
from dlcv.runtime.tiles.tile_list import Tile

if TYPE_CHECKING:
    from dlcv.runtime.raster.scene import Scene

R = TypeVar("R")


@dataclass(frozen=True)
class Counted:
    """What a large image's mask holds, which was never in memory as a whole.

    Attributes:
        pixels: of each index, int64 (256,); those without data count under 255.
        square_metres: float64 (256,); None where the image does not tell the size of its pixels.
        sure: mean of the confidence of the pixels with data, and the share of them below 0.5; None where it is not known.
        scene: image, mask and confidence, to be read in parts; for as long as `Output.write_large` lasts.
    """

    pixels: NDArray[np.int64]
    square_metres: NDArray[np.float64] | None
    sure: tuple[float, float] | None = None
    scene: Scene | None = None


class Output(ABC, Generic[R]):
    """The answers of one run on disk; `R` is what `write` hands to `note`.

    In the order in which a run calls them: `names`; `left`; `clear_up`; then inside `with`, for each tile, `write` in one of
    the writer threads and `note` in the run's own; after that `by_class`, and `conclude` where all tiles are through. `names` alone may be called before the output folder is ready.

    Attributes:
        counted: what `by_class` counts: `pixels` or `images`.
        needs_image: whether `write` wants the image.
        needs_confidence: segmentation: whether the answers shall tell each pixel's confidence (see `answers.py`).
        kinds: of the files that are written beside the answers, for each tile (see `beside.py`).
        a_file_a_tile: whether each answer is a file of its own, not a row of a table.
    """

    counted: str
    needs_image = False
    needs_confidence = False
    kinds: tuple[str, ...] = ()
    a_file_a_tile = False

    @abstractmethod
    def names(self) -> Iterator[tuple[str, str]]:
        """What would be written: its path below the output folder, and what it is, in words."""

    @abstractmethod
    def left(self, tiles: Sequence[Tile], before: Mapping[str, str]) -> Sequence[Tile]:
        """The tiles whose answer is not there.

        Args:
            tiles: all that were asked for.
            before: what is done, of tiles that are as they were (see `resume.py`): the file that holds the answer, which is
                there, by the tile's key.

        Raises:
            OutputError: when the answers of an earlier run cannot be read.
        """

    @abstractmethod
    def clear_up(self, left: Sequence[Tile]) -> None:
        """Takes out what an interrupted run left of the tiles that are run again.

        Raises:
            OutputError: when that is refused.
        """

    @abstractmethod
    def write(self, tile: Tile, answer: NDArray[Any], image_rgb: NDArray[np.uint8] | None = None) -> R:
        """Takes a tile's answer, in any thread.

        Args:
            tile: whose answer it is.
            answer: a mask, or probabilities (see `answers.py`).
            image_rgb: uint8 (h, w, 3), RGB, where `needs_image`.

        Raises:
            TileError: when this answer cannot be kept, and another may.
            OutputError: when nothing can be written.
        """

    def write_large(self, tile: Tile, counted: Counted) -> R:
        """As `write`, of a `large` tile, whose mask stands under its name already (see `large/`); for segmentation.

        Raises:
            TileError, OutputError: as `write`; the mask is removed then.
        """
        raise NotImplementedError

    @abstractmethod
    def note(self, tile: Tile, result: R) -> str:
        """Ends what `write` began, in the run's own thread, before the manifest tells that the tile is done.

        Returns:
            The file that holds the answer, by its path below the output folder.

        Raises:
            OutputError: when it cannot be written.
        """

    @abstractmethod
    def by_class(self) -> dict[str, int]:
        """How many of `counted` each class has."""

    def beside(self, tile: Tile) -> Sequence[str]:
        """The files of this tile alone that stand beside its answer, by their path below the output folder."""
        return ()

    def conclude(self, rows: Iterable[Row]) -> None:
        """Makes what is of the whole run, such as a gallery, from the manifest's rows.

        Raises:
            OutputError: when it cannot be written.
        """

    def __enter__(self) -> Output[R]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None
