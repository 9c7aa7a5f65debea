"""Files that are named after tiles: folders are made on the way, and a name that the system refuses is that tile's failure."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dlcv.runtime.errors import OutputError, TileError
from dlcv.runtime.files import make_folder, write_bytes

_TILE_ERRNOS = (errno.ENAMETOOLONG, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.EINVAL, errno.EILSEQ)
"""What the operating system refuses for one name; any other refusal would meet every tile."""


@contextmanager
def refused_names() -> Iterator[None]:
    """For `with`: what the system refuses because of a tile's name is that tile's failure.

    Raises:
        TileError: in the place of such an OutputError.
    """
    try:
        yield
    except OutputError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _TILE_ERRNOS:
            raise TileError(str(error)) from error
        raise


class NamedFiles:
    """Writes files below a folder, in any thread.

    Args:
        folder: it is made by whoever runs, before the first file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: set[Path] = {folder}

    def write(self, name: str, data: bytes) -> None:
        """Writes a file, whole or not at all.

        Args:
            name: its path below the folder.
            data: what is in it.

        Raises:
            TileError: when the system refuses this name.
            OutputError: when it would refuse any.
        """
        with self.at(name) as path:
            write_bytes(path, data)

    @contextmanager
    def at(self, name: str) -> Iterator[Path]:
        """The path of a file that is written in `with`; its folder is made.

        Args:
            name: its path below the folder.

        Raises:
            TileError, OutputError: as `write`.
        """
        path = self.folder / name
        with refused_names():
            if path.parent not in self._made:
                make_folder(path.parent)
                self._made.add(path.parent)
            yield path
