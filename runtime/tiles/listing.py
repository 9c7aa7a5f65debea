"""Which tiles there are, from files, folders and globs."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from dlcv.runtime.errors import UsageError
from dlcv.runtime.tiles.folders import Search, Told, add_folder
from dlcv.runtime.tiles.looks import Looks
from dlcv.runtime.tiles.names import (
    IMAGE_FOLDER,
    IMAGE_SUFFIXES,
    LABEL_FOLDERS,
    LABEL_SUFFIX,
    LABELLED_SUFFIX,
    WORLD_SUFFIXES,
)
from dlcv.runtime.tiles.tile_list import Tile, TileList, unmarked
from dlcv.runtime.tiles.twins import twins
from dlcv.runtime.tiles.urls import files_at, is_url


def find_tiles(
    sources: Sequence[str],
    *,
    leave_out: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
    looks: Looks | None = None,
) -> TileList:
    """Tiles from files, folders (searched recursively, hidden entries left out) and globs, sorted within each source.

    In a folder, labels that stand beside their images (`NAME_mask.png` beside `NAME_sat.jpg`, `masks/NAME.png` beside
    `images/NAME.jpg`) are no tiles, and neither is what an earlier run wrote into a folder below it.

    Args:
        sources: as they were typed; among them URLs, see `urls.py`.
        leave_out: a folder that is not searched when it lies inside one of `sources`: the masks of an earlier run.
        say: takes a line about what was left out.
        looks: takes what the listings of folders tell, while it keeps answers.

    Raises:
        UsageError: when a source does not exist, nothing was found, or two tiles would have one key.
    """
    if not sources:
        raise UsageError("no tiles given; name files, folders or globs, such as: dlcv-infer tiles/ --engine fcn8s.onnx")
    tiles, search = TileList(), Search(leave_out, looks or Looks())
    for folders, some in groupby(sources, _is_listed):
        if folders:
            for source in some:
                add_folder(tiles, Path(source), search)
        else:
            tiles.extend(tile for source in some for tile in _from_source(source, search))
    if len(sources) > 1 or not _is_listed(sources[0]):
        tiles = _each_once(tiles)
    if not tiles:
        raise UsageError(f"no tiles in {', '.join(sources)}; looked for {', '.join(IMAGE_SUFFIXES)}")
    _tell(search, say)
    return tiles


def _each_once(tiles: TileList) -> TileList:
    """Without those that were found before.

    Raises:
        UsageError: when two would have one key.
    """
    again = set()
    for key, (_, first), (at, where) in twins(lambda: ((t.key, (n, t.where)) for n, t in enumerate(tiles))):
        if _absolute(first) != _absolute(where):
            raise UsageError(
                f"{first} and {where} would share the output name {key}; run their folders one at a time with different --output"
            )
        again.add(at)
    return tiles.kept(n not in again for n in range(len(tiles))) if again else tiles


def _tell(search: Search, say: Callable[[str], None]) -> None:
    labels, worlds, runs = search.labels, search.worlds, search.runs
    if labels.count:
        such = (
            "1 label beside its image was" if labels.count == 1 else f"{labels.count} labels beside their images were"
        )
        say(f"{such} left out, such as {labels.first}; to run one, name the file itself")
    if runs.count:
        such = "1 folder of an earlier run was" if runs.count == 1 else f"{runs.count} folders of earlier runs were"
        say(f"{such} left out, such as {runs.first}; to run what is in it, name the folder itself")
    if worlds.count:
        such, world = "1 world file" if worlds.count == 1 else f"{worlds.count} world files", worlds.first
        image = world.with_suffix(WORLD_SUFFIXES[world.suffix.lower()][0])
        say(
            f"{such}, such as {world}, will not be used: what is made of a PNG or JPEG has no place on the ground; make it a GeoTIFF with: gdal_translate {image.name} {image.stem}.tif"
        )


def source_folders(sources: Sequence[str]) -> list[str]:
    """The folders that `sources` speak of, absolute and sorted: a folder itself, a file's, a glob's up to its first wildcard; a URL as
    it is.
    """
    found = set()
    for source in sources:
        path = Path(source)
        if is_url(source):
            found.add(source)
        elif path.is_dir():
            found.add(os.path.abspath(path))
        elif os.path.lexists(path):
            found.add(os.path.abspath(path.parent))
        else:
            found.add(os.path.abspath(Path(*_before_magic(path.parts))))
    return sorted(found)


def _is_listed(source: str) -> bool:
    return not is_url(source) and Path(source).is_dir()


def _from_source(source: str, search: Search) -> Iterator[Tile]:
    """Of what is no folder."""
    path = Path(source)
    if is_url(source):
        yield from _at_url(source, search.labels)
    elif os.path.lexists(path):
        for world in _worlds_of(path):
            if world.is_file():
                search.worlds.add(world)
        yield Tile(path, path.name)
    elif glob.has_magic(source):
        yield from _from_glob(source)
    else:
        raise UsageError(f"{source} does not exist; name files, folders or globs")


def _absolute(where: str) -> str:
    return where if is_url(where) else os.path.abspath(where)


def _at_url(source: str, labels: Told) -> Iterator[Tile]:
    """As in a folder: hidden entries, what is no image and labels beside their images are left out; a file named itself is not."""
    found = list(files_at(source))
    if len(found) == 1 and source.rstrip("/").endswith(found[0][1]):
        yield Tile(*found[0])
        return
    keys = {key for _, key in found}
    images = {os.path.splitext(key)[0] for key in keys if key.lower().endswith(IMAGE_SUFFIXES)}
    for where, key in found:
        beside = key.endswith(LABEL_SUFFIX) and key[: -len(LABEL_SUFFIX)] + LABELLED_SUFFIX in keys
        if beside or not images.isdisjoint(_labelled(os.path.splitext(key)[0])):
            labels.add(Path(key))
        elif not any(part[0] == "." for part in key.split("/")) and key.lower().endswith(IMAGE_SUFFIXES):
            yield Tile(where, key)


def _labelled(key: str) -> Iterator[str]:
    """What a file would be the label of by its folder: `a/masks/b` -> `a/images/b`."""
    parts = key.split("/")
    for number, part in enumerate(parts[:-1]):
        if part in LABEL_FOLDERS:
            yield "/".join([*parts[:number], IMAGE_FOLDER, *parts[number + 1 :]])


def _from_glob(pattern: str) -> Iterator[Tile]:
    """Matches keep their path below the last folder in the pattern that holds no wildcard."""
    fixed = Path(*_before_magic(Path(pattern).parts))
    for match in sorted(glob.glob(pattern, recursive=True)):
        path = Path(match)
        if path.is_dir():
            continue
        yield Tile(path, path.relative_to(fixed).as_posix() if fixed != Path() else path.as_posix())


def _before_magic(parts: Iterable[str]) -> list[str]:
    fixed: list[str] = []
    for part in parts:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return fixed


def _worlds_of(image: Path) -> list[Path]:
    """Where a world file of this image may be, by its usual short name."""
    usual = {".png": ".pgw", ".jpg": ".jgw", ".jpeg": ".jgw"}.get(image.suffix.lower())
    return [] if usual is None else [image.with_suffix(usual)]


def real_paths(tiles: TileList, below: str) -> Iterator[str]:
    """Where those tiles really are that are below a folder, symbolic links followed. Those at URLs are left out.

    Args:
        tiles: any.
        below: a folder, with its own links followed.
    """
    top, last, here, inside = os.path.join(below, ""), None, "", False
    for where, _, names in tiles.parts():
        if is_url(where):
            continue
        if where != last:  # each folder is looked up once
            last, folder = where, not where or where.endswith(os.sep)
            here = os.path.join(os.path.realpath(where), "") if folder else ""
            inside = here.startswith(top)
        for name in names.split("/") if inside or not here or "\0" in names else ():
            file = unmarked(name)
            if here and file == name:  # no link
                if inside:
                    yield here + name
            elif (path := os.path.realpath(where + file)).startswith(top):
                yield path
