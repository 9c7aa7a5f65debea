"""What the output of each tile is called, and which names a run keeps for itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from string import Formatter

from dlcv.runtime.errors import UsageError
from dlcv.runtime.files import PARTIAL_SUFFIX
from dlcv.runtime.tiles import Tile

TABLES = (
    "predictions.csv",
    "predictions.jsonl",
    "areas.csv",
    "confidence.csv",
    "gallery/tiles.csv",
    "gallery/index.html",
)
RESERVED = ("manifest.csv", "run.json", "summary.json", ".dlcv-lock", *TABLES)
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
    if template == DEFAULT_TEMPLATE and not (key[:1] in _ODD_STARTS or "/." in key or "//" in key or key[-1] == "/"):
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


def output_names(tiles: Sequence[Tile], template: str = DEFAULT_TEMPLATE) -> dict[str, str]:
    """Output name by key.

    Raises:
        UsageError: when two tiles would get one name, or the template cannot be used.
    """
    names: dict[str, str] = {}
    taken: dict[str, str] = {}
    for tile in tiles:
        name = name_of(tile, template)
        if name in taken:
            raise UsageError(
                f"--name-template {template!r} gives {taken[name]} and {tile.key} one output, {name}; use {{path}} in it"
            )
        taken[name] = tile.key
        names[tile.key] = name
    return names
