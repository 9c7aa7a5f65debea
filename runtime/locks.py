"""A file or a folder that one process works in; the operating system frees it when the process ends, however it ends."""

from __future__ import annotations

import os
from pathlib import Path


class InUse(Exception):
    """Another process holds the folder."""


def lock_folder(folder: Path) -> int | None:
    """Takes a folder for this process; `os.close` frees it.

    Returns:
        A descriptor; None where folders cannot be locked: on Windows, on some network file systems.

    Raises:
        InUse: when it is held already.
    """
    if os.name == "nt":
        return None
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        lock(descriptor)
    except BlockingIOError:
        os.close(descriptor)
        raise InUse from None
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def lock(descriptor: int) -> None:
    """Takes what is open for this process; closing it frees it.

    Raises:
        BlockingIOError: when another process holds it; on Windows it is a PermissionError.
        OSError: when it cannot be locked.
    """
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
