"""The tiles in a folder and in all below it, sorted, in little memory; and what in them is no tile."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dlcv.runtime.errors import UsageError
from dlcv.runtime.files import listing
from dlcv.runtime.tiles.earlier_runs import holds_a_run
from dlcv.runtime.tiles.looks import Looks
from dlcv.runtime.tiles.names import (
    IMAGE_FOLDER,
    IMAGE_SUFFIXES,
    LABEL_FOLDERS,
    LABEL_SUFFIX,
    LABELLED_SUFFIX,
    WORLD_SUFFIXES,
)
from dlcv.runtime.tiles.tile_list import Fingerprint, TileList, in_order, marked, unmarked

_WORLDS = tuple(WORLD_SUFFIXES)
_LISTED = IMAGE_SUFFIXES + _WORLDS


@dataclass
class Told:
    """What people are told of, such as labels that were left out.

    Attributes:
        count: how many.
        first: of them; of no meaning where there is none.
    """

    count: int = 0
    first: Path = Path()

    def add(self, path: Path) -> None:
        """Counts one more."""
        if not self.count:
            self.first = path
        self.count += 1


@dataclass
class Search:
    """What the listing of folders asks for, and what it tells beside tiles.

    Attributes:
        leave_out: a folder that is not searched.
        looks: takes what the listing tells of files.
        labels: that stand beside their images.
        worlds: files that place images on the ground.
        runs: folders of earlier runs.
    """

    leave_out: Path | None
    looks: Looks
    labels: Told = field(default_factory=Told)
    worlds: Told = field(default_factory=Told)
    runs: Told = field(default_factory=Told)


def add_folder(tiles: TileList, folder: Path, search: Search) -> None:
    """A folder's tiles and those of all below it; each folder's names are sorted, and none is held twice.

    Args:
        tiles: takes them.
        folder: is searched; hidden entries, links to folders, labels beside their images, world files and folders of earlier runs
            below it are left out.
        search: what else is left out, and what people are told of.

    Raises:
        UsageError: when it, or one below it, cannot be listed.
    """
    hidden = os.path.realpath(search.leave_out) if search.leave_out is not None else ""
    below = [(os.fspath(folder), "", "")]
    while below:
        where, prefix, images = below.pop()
        base = "" if where == "." else os.path.join(where, "")
        folders: list[str] = []
        tiles.add(
            base, prefix, _tiles_among(in_order(_listed(where, base, folders, search.looks)), base, images, search)
        )
        for name in sorted(folders, reverse=True):  # a stack: the first comes out first
            if name[0] == "." or (hidden and os.path.realpath(base + name) == hidden):
                continue
            if holds_a_run(base + name):
                search.runs.add(Path(base + name))
            else:
                labels = name in LABEL_FOLDERS and IMAGE_FOLDER in folders
                inside = f"{base}{IMAGE_FOLDER}/" if labels else f"{images}{name}/" if images else ""
                below.append((base + name, f"{prefix}{name}/", inside))


def _tiles_among(names: Iterable[str], base: str, images: str, search: Search) -> Iterator[str]:
    """The marked names of tiles; labels and world files are told of.

    Args:
        images: the folder whose images the files are labels of, where they have its names; empty for none.
    """
    for name in names:
        file = unmarked(name)
        if file.lower().endswith(_WORLDS):
            stem, suffix = os.path.splitext(file)
            if any(_is_file(base + stem + image) for image in WORLD_SUFFIXES[suffix.lower()]):
                search.worlds.add(Path(base + file))
        elif (file.endswith(LABEL_SUFFIX) and _is_file(base + file[: -len(LABEL_SUFFIX)] + LABELLED_SUFFIX)) or (
            images and any(_is_file(images + os.path.splitext(file)[0] + suffix) for suffix in IMAGE_SUFFIXES)
        ):
            search.labels.add(Path(base + file))
        else:
            yield name


def _is_file(path: str) -> bool:
    """Whether there is something by this name that a listing would not enter."""
    return os.path.lexists(path) and not os.path.isdir(path)


def _listed(where: str, base: str, folders: list[str], looks: Looks) -> Iterator[str]:
    """The marked names of images and world files in a folder, in no order; the folders are put into `folders`.

    A link to a folder is not followed: it could lead in a circle. One that cannot be listed is an error: nobody would notice
    that its tiles are missing.

    Raises:
        UsageError: tells why.
    """
    known = looks.known
    try:
        with listing(where) as entries:
            for entry in entries:
                name = entry.name
                try:
                    is_folder = entry.is_dir()
                except OSError:  # such as a link in a circle: its tile tells it, and the others are run
                    is_folder = False
                if is_folder:
                    if not entry.is_symlink():
                        folders.append(name)
                elif name.lower().endswith(_LISTED):
                    plain = not entry.is_symlink()
                    if plain and known is not None:
                        with suppress(OSError):  # removed since it was listed
                            facts = entry.stat(follow_symlinks=False)
                            of = facts.st_size, facts.st_mtime_ns
                            known[base + name] = tuple.__new__(Fingerprint, of)  # its class takes twice as long
                    if name[0] != ".":
                        yield name if plain else marked(name, plain=False)
    except FileNotFoundError:  # removed since it was seen
        pass
    except OSError as error:
        raise UsageError(
            f"the folder {where} cannot be listed: {error.strerror}; make it readable, or name the folders beside it"
        ) from error
