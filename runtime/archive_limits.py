"""Zip archives that say more than they hold: refused before anything of them is unpacked."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import zipfile

MOST_MEMBERS = 200_000


def member_sizes(archive: zipfile.ZipFile, most_bytes: int) -> dict[str, int]:
    """Name -> bytes that each member claims to unpack to.

    Args:
        archive: opened for reading; only its directory is looked at.
        most_bytes: that all members together may claim. What torch stores is not compressed, so that its archives hold no more
            than the file has.

    Raises:
        ValueError: when they claim more, are too many, or a name stands there twice.
    """
    members = archive.infolist()
    sizes = {info.filename: info.file_size for info in members}
    if len(members) > MOST_MEMBERS or len(sizes) != len(members):
        raise ValueError(f"{len(members)} members, expected at most {MOST_MEMBERS}, each name once")
    if sum(sizes.values()) > most_bytes:
        raise ValueError("its members claim more bytes than the file can hold")
    return sizes
