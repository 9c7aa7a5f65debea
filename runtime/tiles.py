"""Which tiles there are, from files, folders and globs."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from dlcv.runtime.errors import UsageError
from dlcv.runtime.files import listing
from dlcv.runtime.urls import files_at, is_url, state_of

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp")
"""What is taken for a tile inside a folder; a file that is named itself is always tried."""

WORLD_SUFFIXES = {
    ".pgw": (".png",),
    ".pngw": (".png",),
    ".jgw": (".jpg", ".jpeg"),
    ".jpgw": (".jpg",),
    ".jpegw": (".jpeg",),
}
"""Of world files, and of the images that they place on the ground."""

LABELLED_SUFFIX, LABEL_SUFFIX = "_sat.jpg", "_mask.png"
"""An image and the label beside it, in the datasets that dlcv knows."""


class Fingerprint(NamedTuple):
    """What tells that a file is not what it was: it was written, or another one took its place.

    Attributes:
        size: in bytes.
        mtime_ns: when it was last written, by the clock of whoever wrote it, in nanoseconds.
    """

    size: int
    mtime_ns: int


class Looks:
    """Asks what files are; while `keep` is on, once each, since asking is most of what a resumed run of done tiles takes.

    Args:
        keep: remember the answers until `forget`.
    """

    def __init__(self, keep: bool = False) -> None:
        self._known: dict[str, Fingerprint | None] | None = {} if keep else None

    def at(self, tile: Tile) -> Fingerprint | None:
        """As `Tile.fingerprint`, now or when it was asked first."""
        if self._known is None:
            return tile.fingerprint()
        where = tile.where
        if where not in self._known:
            self._known[where] = tile.fingerprint()
        return self._known[where]

    @property
    def keep(self) -> bool:
        """Whether answers are remembered."""
        return self._known is not None

    def know(self, where: str, found: Fingerprint) -> None:
        """Takes what a folder's listing told already."""
        if self._known is not None:
            self._known[where] = found

    def forget(self) -> None:
        """Lets the answers go, and keeps none from here on."""
        self._known = None


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile to be run. Small, since a folder may hold a million of them.

    Attributes:
        where: where it is, as it was named or found: a path or a URL; given as a Path or as a string, kept as a string.
        key: its path inside the folder that was named, with forward slashes; of a file named itself, its file name.
            It identifies the tile in the manifest, and the output's name is made from it alone.
        plain: True where the folder's listing says that it is no symbolic link.
        large: it is read by windows and its mask is a GeoTIFF; see `large/`.
    """

    where: str
    key: str
    plain: bool = field(default=False, compare=False, repr=False)
    large: bool = False

    def __init__(self, path: str | Path, key: str, plain: bool = False, large: bool = False) -> None:
        object.__setattr__(self, "where", os.fspath(path))
        object.__setattr__(self, "key", key)
        object.__setattr__(self, "plain", plain)
        object.__setattr__(self, "large", large)

    @property
    def path(self) -> Path:
        """`where` as a Path; not for a URL."""
        return Path(self.where)

    def fingerprint(self) -> Fingerprint | None:
        """What the file is now, links followed; None where it cannot be asked."""
        if is_url(self.where):
            found = state_of(self.where)
            return None if found is None else Fingerprint(*found)
        try:
            facts = os.stat(self.where)
        except (OSError, ValueError):  # ValueError: a name with a NUL
            return None
        return Fingerprint(facts.st_size, facts.st_mtime_ns)


def find_tiles(
    sources: Sequence[str],
    *,
    leave_out: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
    looks: Looks | None = None,
) -> list[Tile]:
    """Tiles from files, folders (searched recursively, hidden entries left out) and globs, sorted within each source.

    In a folder, labels that stand beside their images (`NAME_mask.png` beside `NAME_sat.jpg`) are no tiles.

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
    tiles: dict[str, Tile] = {}
    labels: list[Path] = []
    worlds: list[Path] = []
    for source in sources:
        for tile in _from_source(source, leave_out, labels, worlds, looks or Looks()):
            first = tiles.setdefault(tile.key, tile)
            if first is not tile and _absolute(first.where) != _absolute(tile.where):
                raise UsageError(
                    f"{first.where} and {tile.where} would share the output name {tile.key}; run their folders one at a time with different --output"
                )
    if not tiles:
        raise UsageError(f"no tiles in {', '.join(sources)}; looked for {', '.join(IMAGE_SUFFIXES)}")
    if labels:
        say(
            f"{len(labels)} labels beside their images were left out, such as {labels[0]}; to run one, name the file itself"
        )
    if worlds:
        such = "1 world file" if len(worlds) == 1 else f"{len(worlds)} world files"
        image = worlds[0].with_suffix(WORLD_SUFFIXES[worlds[0].suffix.lower()][0])
        say(
            f"{such}, such as {worlds[0]}, will not be used: what is made of a PNG or JPEG has no place on the ground; make it a GeoTIFF with: gdal_translate {image.name} {image.stem}.tif"
        )
    return list(tiles.values())


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


def _from_source(
    source: str, leave_out: Path | None, labels: list[Path], worlds: list[Path], looks: Looks
) -> Iterator[Tile]:
    path = Path(source)
    if is_url(source):
        yield from _at_url(source, labels)
    elif path.is_dir():
        yield from _in_folder(path, leave_out, labels, worlds, looks)
    elif os.path.lexists(path):
        worlds += [world for world in _worlds_of(path) if world.is_file()]
        yield Tile(path, path.name)
    elif glob.has_magic(source):
        yield from _from_glob(source)
    else:
        raise UsageError(f"{source} does not exist; name files, folders or globs")


def _absolute(where: str) -> str:
    return where if is_url(where) else os.path.abspath(where)


def _at_url(source: str, labels: list[Path]) -> Iterator[Tile]:
    """As in a folder: hidden entries, what is no image and labels beside their images are left out; a file named itself is not."""
    found = list(files_at(source))
    if len(found) == 1 and source.rstrip("/").endswith(found[0][1]):
        yield Tile(*found[0])
        return
    keys = {key for _, key in found}
    for where, key in found:
        if key.endswith(LABEL_SUFFIX) and key[: -len(LABEL_SUFFIX)] + LABELLED_SUFFIX in keys:
            labels.append(Path(key))
        elif not any(part[0] == "." for part in key.split("/")) and key.lower().endswith(IMAGE_SUFFIXES):
            yield Tile(where, key)


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


def _in_folder(
    folder: Path, leave_out: Path | None, labels: list[Path], worlds: list[Path], looks: Looks
) -> Iterator[Tile]:
    hidden = os.path.realpath(leave_out) if leave_out is not None else ""
    below = [(os.fspath(folder), "")]
    while below:
        where, prefix = below.pop()
        base = "" if where == "." else os.path.join(where, "")
        folders, files = _listed(where, base, looks)
        for name in sorted(files):
            if name.endswith(LABEL_SUFFIX) and name[: -len(LABEL_SUFFIX)] + LABELLED_SUFFIX in files:
                labels.append(Path(where, name))
            elif name[0] != "." and name.lower().endswith(IMAGE_SUFFIXES):
                yield Tile(base + name, prefix + name, files[name])
            elif (images := WORLD_SUFFIXES.get(os.path.splitext(name)[1].lower())) is not None:
                worlds += [Path(where, name)] * any(os.path.splitext(name)[0] + suffix in files for suffix in images)
        for name in sorted(folders, reverse=True):  # a stack: the first comes out first
            if name[0] != "." and (not hidden or os.path.realpath(base + name) != hidden):
                below.append((base + name, f"{prefix}{name}/"))


def _listed(where: str, base: str, looks: Looks) -> tuple[list[str], dict[str, bool]]:
    """Folders and files in a folder, the files with whether they are no links.

    A link to a folder is not followed: it could lead in a circle. One that cannot be listed is an error: nobody would notice
    that its tiles are missing.

    Raises:
        UsageError: tells why.
    """
    folders: list[str] = []
    files: dict[str, bool] = {}
    try:
        with listing(where) as entries:
            for entry in entries:
                if not _is_folder(entry):
                    plain = files[entry.name] = not entry.is_symlink()
                    if plain and looks.keep:
                        with suppress(OSError):  # removed since it was listed
                            facts = entry.stat(follow_symlinks=False)
                            looks.know(base + entry.name, Fingerprint(facts.st_size, facts.st_mtime_ns))
                elif not entry.is_symlink():
                    folders.append(entry.name)
    except FileNotFoundError:  # removed since it was seen
        pass
    except OSError as error:
        raise UsageError(
            f"the folder {where} cannot be listed: {error.strerror}; make it readable, or name the folders beside it"
        ) from error
    return folders, files


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # such as a link in a circle: its tile tells it, and the others are run
        return False


def real_paths(tiles: Iterable[Tile]) -> Iterator[str]:
    """Where tiles really are, symbolic links followed; each folder is looked up once. Those at URLs are left out."""
    folders: dict[str, str] = {}
    for tile in tiles:
        if is_url(tile.where):
            continue
        if not tile.plain:
            yield os.path.realpath(tile.where)
            continue
        folder, separator, name = tile.where.rpartition(os.sep)
        folder += separator
        if folder not in folders:
            folders[folder] = os.path.join(os.path.realpath(folder), "")
        yield folders[folder] + name
