"""Guilty layers are put back to float32, as few as suffice: the list of the guilty is halved, not searched.

The proof's share bounds how many can be put back. Layers whose values overflow are put back together, since one alone helps nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from dlcv.export.precision.guilty import MANY_CLIPPED, Guilty
from dlcv.runtime.errors import VerdictError

MAX_ROUNDS = 6
"""Graphs that are made and verified at most, the first one, without repair, not counted."""
NAMED = 4
"""How many layers a sentence names."""

T = TypeVar("T")


@dataclass(frozen=True)
class Round:
    """A try: what was put back, and why it failed; an empty reason where it passed."""

    restored: tuple[str, ...]
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"restored": list(self.restored), "passed": not self.reason, "reason": self.reason}


@dataclass(frozen=True)
class Repair:
    """How a graph was repaired.

    Attributes:
        reason: why the graph failed without repair.
        guilty: the layers, the guiltiest first.
        restored: those that are in float32 now.
        rounds: the tries.
    """

    reason: str
    guilty: tuple[Guilty, ...]
    restored: tuple[Guilty, ...]
    rounds: tuple[Round, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "failed_without": self.reason,
            "restored": [layer.to_dict() for layer in self.restored],
            "rounds": [one.to_dict() for one in self.rounds],
            "guilty": [layer.to_dict() for layer in self.guilty],
        }


class Repairing(Generic[T]):
    """Tries sets of layers until a graph passes.

    Args:
        attempt: makes and verifies a graph with these layers, by name, in float32.
        guilty: the guiltiest first.
        room: share of the multiply-adds that may leave the precision, 0..1.
        failed: of the graph without repair.
        say: takes a line as each try begins.
        blameless_db: signal to noise of a layer that loses nothing: where all have it, none is put back.
    """

    def __init__(
        self, attempt: Callable[[tuple[str, ...]], T], guilty: Sequence[Guilty], room: float, failed: VerdictError,
        say: Callable[[str], None], blameless_db: float = math.inf,
    ) -> None:  # fmt: skip
        self._attempt, self._guilty, self._room, self._failed, self._say = attempt, guilty, room, failed, say
        self._order = _affordable(guilty, room)
        self._together = sum(layer.overflows for layer in self._order)
        self._rounds: list[Round] = []
        self._blameless_db = blameless_db

    def run(self) -> tuple[T, Repair]:
        """The graph that passes with the fewest layers put back that were found, and how.

        Raises:
            VerdictError: when none passes: the first failure, the guilty layers, and what to do.
        """
        if self._guilty and all(layer.snr_db >= self._blameless_db and not layer.overflows for layer in self._guilty):
            raise self._blameless()
        if not self._order or any(layer.overflows for layer in self._guilty if layer not in self._order):
            raise self._verdict()
        low, high, result = self._up()
        while high - low > 1 and len(self._rounds) < MAX_ROUNDS:
            middle = (low + high) // 2
            fewer = self._try(middle)
            if fewer is None:
                low = middle
            else:
                result, high = fewer, middle
        return result, Repair(str(self._failed), tuple(self._guilty), tuple(self._order[:high]), tuple(self._rounds))

    def _up(self) -> tuple[int, int, T]:
        """Twice as many each time, at the end all that there is room for: how many failed, how many pass, and what passes."""
        low, count = max(0, self._together - 1), max(1, self._together)
        while (result := self._try(count)) is None:
            if count == len(self._order):
                raise self._verdict()
            low, count = count, min(len(self._order), 2 * count)
            if len(self._rounds) == MAX_ROUNDS - 1:
                count = len(self._order)
        return low, count, result

    def _try(self, count: int) -> T | None:
        layers = self._order[:count]
        for layer in layers if count <= NAMED else layers[:NAMED]:
            self._say(f"restoring {layer.sentence} to fp32")
        if count > NAMED:
            self._say(f"restoring {count - NAMED} more layers to fp32: {', '.join(x.name for x in layers[NAMED:])}")
        names = tuple(layer.name for layer in layers)
        try:
            result = self._attempt(names)
        except VerdictError as error:
            self._rounds.append(Round(names, str(error)))
            self._say(f"with {count} restored: {error}")
            return None
        self._rounds.append(Round(names, ""))
        return result

    def _blameless(self) -> VerdictError:
        least = min(layer.snr_db for layer in self._guilty)
        return VerdictError(
            f"{self._failed}; no layer loses anything by itself (the least signal to noise is {least:.1f} dB), so that putting some back helps nothing: "
            "the graph computes something else, or the network as a whole needs more; take another --precision, or allow more with --max-drop"
        )

    def _verdict(self) -> VerdictError:
        overflowing = [layer for layer in self._guilty if layer.overflows]
        named = (overflowing or list(self._guilty))[:NAMED]
        needed = sum(layer.share for layer in (overflowing or named))
        text = f"{self._failed}; guilty: {', '.join(layer.sentence for layer in named) or 'no layer by itself'}"
        if len(overflowing) > NAMED:
            text += f" and {len(overflowing) - NAMED} more that overflow"
        if self._rounds:
            text += f"; restoring {max(len(one.restored) for one in self._rounds)} layers to fp32 did not suffice"
        if needed > self._room:
            text += f"; to restore these, {needed:.1%} of the multiply-adds must leave the precision and {max(0.0, self._room):.1%} may"
        clipped = sum(layer.clipped > MANY_CLIPPED for layer in self._guilty)
        if 2 * clipped > len(self._guilty):
            text += f"; {clipped} of {len(self._guilty)} layers are given values beyond their range: calibrate on images such as these (--calibration-data)"
        return VerdictError(f"{text}; allow more with --min-share or --max-drop, or take another --precision")


def _affordable(guilty: Sequence[Guilty], room: float) -> list[Guilty]:
    """Those that fit into the room, the guiltiest first; a layer that does not fit is left out."""
    chosen, left = [], room
    for layer in guilty:
        if layer.share <= left:
            chosen.append(layer)
            left -= layer.share
    return chosen
