"""Labelled images that cannot be used, found by reading all of them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dlcv.runtime.datasets.labelled import Example, LabelledSet
from dlcv.runtime.errors import DatasetError
from dlcv.runtime.machine import cpu_count

_AT_ONCE = 1024
"""Images that are handed to the threads at a time: Ctrl-C waits for no more."""


def unusable(labelled: LabelledSet[Any], advance: Callable[[int], object] = lambda _: None) -> dict[str, str]:
    """Reads each image with its label, in as many threads as there are cores.

    Args:
        labelled: the images.
        advance: takes how many more were read.

    Returns:
        Of those that `LabelledSet.read` refuses: why, by the example's name.
    """

    def reason(example: Example) -> str:
        try:
            labelled.read(example)
        except DatasetError as error:
            return str(error)
        return ""

    found = {}
    with ThreadPoolExecutor(cpu_count()) as pool:
        for start in range(0, len(labelled), _AT_ONCE):
            some = labelled.examples[start : start + _AT_ONCE]
            for example, why in zip(some, pool.map(reason, some)):
                if why:
                    found[example.name] = why
                advance(1)
    return found
