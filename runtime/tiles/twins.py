"""Names that are there twice, found in 8 bytes a name: hashes tell that there are none, and only of those that are equal names are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def twins(pairs: Callable[[], Iterable[tuple[str, T]]]) -> Iterator[tuple[str, T, T]]:
    """Each name that was there before: the name, what had it first, and what has it now.

    Args:
        pairs: gives names and what they belong to, each time from the start.
    """
    import numpy as np  # not before it is needed: who only asks for a command's help does not wait for it

    hashes = np.fromiter((hash(name) for name, _ in pairs()), np.int64)
    hashes.sort()
    twice = frozenset(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    first: dict[str, T] = {}
    for name, what in pairs() if twice else ():
        if hash(name) not in twice:
            continue
        if name in first:
            yield name, first[name], what
        else:
            first[name] = what
