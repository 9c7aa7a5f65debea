"""What becomes of each tile that goes in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from dlcv.runtime.errors import TileError

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Outcome(Generic[T, R]):
    """What became of a tile: `result` of `finish`, or the `error` that stopped it."""

    tile: T
    result: R | None = None
    error: TileError | None = None
