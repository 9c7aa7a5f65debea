"""What the output of each tile is called, and which names a run keeps for itself."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from string import Formatter

from dlcv.runtime.errors import UsageError
from dlcv.runtime.files import PARTIAL_SUFFIX
from dlcv.runtime.tiles.earlier_runs import MANIFEST, RUN
from dlcv.runtime.tiles.tile_list import Tile, TileList
from dlcv.runtime.tiles.twins import twins

TABLES = (
    "predictions.csv",
    "predictions.jsonl",
    "areas.csv",
    "confidence.csv",
    "gallery/tiles.csv",
    "gallery/index.html",
)
SUMMARY, LOCK = "summary.json", ".dlcv-lock"
RESERVED = (MANIFEST, RUN, SUMMARY, LOCK, *TABLES)
"""What a run writes, files of single tiles apart."""

DEFAULT_TEMPLATE = "{path}.png"
_FORMATS = frozenset((".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".jp2", ".gif", ".npy"))
_ODD_STARTS = ("", ".", "/")
TEMPLATE_FIELDS = "{path} (a/b.jpg), {folder} (a), {name} (b.jpg), {stem} (b), {suffix} (.jpg)"


def output_name(key: str, template: str = DEFAULT_TEMPLATE) -> str:
    """The output's path below the output folder, from the tile's key alone.

    Raises:
        UsageError: when the template has an unknown field, or leads out of the folder.
    """
    if template == DEFAULT_TEMPLATE and not _odd(key):
        return f"{key}.png"  # what the rest would give, without its cost: a folder may hold a million tiles
    pure = PurePosixPath(key)
    values = {"path": key, "folder": str(pure.parent), "name": pure.name, "stem": pure.stem, "suffix": pure.suffix}
    try:
        for _, field, _, _ in Formatter().parse(template):
            if field is not None and field not in values:  # nor a field's attributes and items
                raise KeyError(field)
        name = template.format(**values)
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise UsageError(
            f"--name-template {template!r} cannot be used ({error}); fields are {TEMPLATE_FIELDS}"
        ) from error
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or name.endswith("/"):
        raise UsageError(
            f"--name-template {template!r} gives {name!r} for {key!r}, which is not a file below the output folder"
        )
    if str(PurePosixPath(*parts)) in RESERVED or parts[-1].endswith(PARTIAL_SUFFIX):
        raise UsageError(f"--name-template {template!r} gives {name!r} for {key!r}, a name that the run itself needs")
    return str(PurePosixPath(*parts))


def _odd(key: str) -> bool:
    """Whether a key, or one of several with `/` between, is not the path that it is written as."""
    return key[:1] in _ODD_STARTS or "/." in key or "//" in key or key[-1] == "/"


def name_of(tile: Tile, template: str = DEFAULT_TEMPLATE) -> str:
    """`output_name` of a tile; a large one's ends in `.tif` where the template ends in `.png`.

    Raises:
        UsageError: see `output_name`.
    """
    name = output_name(tile.key, template)
    # with the template all names end in .png, so that no two become one
    name = f"{name[:-4]}.tif" if tile.large and template.endswith(".png") else name
    if template != DEFAULT_TEMPLATE:
        _require_its_format(name, tile, template)
    return name


def _require_its_format(name: str, tile: Tile, template: str) -> None:
    """Refuses a name by which other programs would take the file for what it is not."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in _FORMATS and suffix not in ((".tif", ".tiff") if tile.large else (".png",)):
        what = "is a GeoTIFF" if tile.large else "is a PNG file"
        raise UsageError(
            f"--name-template {template!r} gives {name!r} for {tile.key!r}, whose mask {what}; end the template in .png"
        )


def check_names(tiles: Iterable[Tile], template: str = DEFAULT_TEMPLATE) -> None:
    """Sees to it that each tile has an output name, and none has another's.

    Args:
        tiles: each with a key of its own.
        template: of names.

    Raises:
        UsageError: when two tiles would get one name, or the template cannot be used.
    """
    if (
        template == DEFAULT_TEMPLATE
        and isinstance(tiles, TileList)
        and not any(_odd(k + n) for _, k, n in tiles.parts())
    ):
        return  # each name is the key and a suffix
    for name, first, key in twins(lambda: ((name_of(tile, template), tile.key) for tile in tiles)):
        raise UsageError(f"--name-template {template!r} gives {first} and {key} one output, {name}; use {{path}} in it")
