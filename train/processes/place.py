"""Where a process stands among those that train one model. No torch here."""

from __future__ import annotations

import os
from typing import NamedTuple


class Place(NamedTuple):
    """Where a process stands.

    Attributes:
        rank: its number, from 0.
        size: how many there are.
        local_rank, local_size: the same among those of this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def main(self) -> bool:
        """Whether it is the one that writes and prints."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Its part of `count` things in their order; the parts of all are the whole and differ by one at most."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)


def place_of_torchrun() -> Place:
    """Where this process stands; alone where torchrun has not started it, or only it."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return Place()
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    return Place(*(int(os.environ[name]) for name in names))
