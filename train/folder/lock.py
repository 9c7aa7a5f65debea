"""A run's folder is trained into by one run at a time. No torch here."""

from __future__ import annotations

import os
import weakref
from pathlib import Path

from dlcv.runtime.errors import UsageError
from dlcv.runtime.locks import InUse, lock_folder
from dlcv.train.processes.place import place_of_torchrun

_held: dict[str, tuple[int, int]] = {}
"""By folder: a descriptor, and how many owners in this process."""


def hold(folder: Path, owner: object) -> None:
    """Takes the folder for this process as long as `owner` lives. Of several processes of one run only the first takes it.

    Raises:
        UsageError: when another process holds it.
    """
    if not place_of_torchrun().main:
        return
    key = os.path.realpath(folder)
    if key in _held:
        descriptor, owners = _held[key]
    else:
        try:
            found = lock_folder(folder)
        except InUse:
            raise UsageError(
                f"{folder} is in use by another run of dlcv-train; wait for it, or name another folder with --output"
            ) from None
        if found is None:
            return
        descriptor, owners = found, 0
    _held[key] = descriptor, owners + 1
    weakref.finalize(owner, _release, key)


def _release(key: str) -> None:
    if key not in _held:  # in a child, which has copies of the owners
        return
    descriptor, owners = _held.pop(key)
    if owners > 1:
        _held[key] = descriptor, owners - 1
    else:
        os.close(descriptor)


def _in_child() -> None:
    """A worker holds nothing: it lives a few seconds longer than a training process that was killed, and so would the lock."""
    for descriptor, _ in _held.values():
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
