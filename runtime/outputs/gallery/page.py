"""The gallery's page: one HTML file with its style, its script and the facts of all tiles inside.

What comes from outside, names of files and classes, reasons, stands in one JSON block in which `<` is an escape, and the script
puts it on the page as text, never as HTML. The page's policy (CSP) allows the one script, by its hash, and no network. Up to
`EMBEDDED_BYTES` of thumbnails stand in the page itself, which can then be sent as one file; more are loaded from the files
beside it, a page's worth at a time.
"""

from __future__ import annotations

import html
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.files import whole_file
from dlcv.runtime.pages import data_uri, fill, json_text, policy
from dlcv.runtime.version import __version__

EMBEDDED_BYTES = 16 << 20


@dataclass(frozen=True)
class PageTile:
    """A tile on the page. Files are named by their paths below the output folder.

    Attributes:
        key: the tile's.
        width, height: of the image, in pixels.
        confidence: 0..1; None where there is none.
        classes: (index, pixels) for segmentation, (index, probability) for a classifier.
        image, mask: thumbnails; `mask` is empty for a classifier.
        output, picture: the mask and the overlay in full size; empty for none.
        reason: why the tile failed; empty where it did not.
    """

    key: str
    width: int = 0
    height: int = 0
    confidence: float | None = None
    classes: tuple[tuple[int, float], ...] = ()
    image: str = ""
    mask: str = ""
    output: str = ""
    picture: str = ""
    reason: str = ""


def write_page(path: Path, card: ModelCard, tiles: Iterable[PageTile]) -> None:
    """Writes the page, whole or not at all.

    Args:
        path: in a folder below the output folder.
        card: classes, palette, task, model.
        tiles: taken one by one; what is written of one is not kept.

    Raises:
        OutputError: when it cannot be written, or a thumbnail cannot be read.
    """
    embedded = sum(entry.stat().st_size for entry in os.scandir(path.parent) if entry.name.endswith((".jpg", ".png")))
    with whole_file(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        head, foot = _around()
        file.write(head)
        file.write(json_text(_facts(card))[:-1] + ', "tiles": [')
        for number, tile in enumerate(tiles):
            file.write(
                (",\n" if number else "\n") + json_text(_values(tile, path.parent.parent, embedded <= EMBEDDED_BYTES))
            )
        file.write("]}" + foot)


def _facts(card: ModelCard) -> dict[str, Any]:
    return {
        "task": card.task,
        "model": card.model,
        "precision": card.precision,
        "classes": list(card.classes),
        "palette": ["#{:02x}{:02x}{:02x}".format(*colour) for colour in card.palette],
        "version": __version__,
    }


def _values(tile: PageTile, folder: Path, embed: bool) -> dict[str, Any]:
    """What the script reads; what is empty is left out."""
    values: dict[str, Any] = {
        "key": tile.key, "width": tile.width, "height": tile.height, "confidence": tile.confidence,
        "classes": [[index, value] for index, value in tile.classes], "reason": tile.reason,
        "image": _source(tile.image, folder, embed), "mask": _source(tile.mask, folder, embed),
        "output": _link(tile.output), "picture": _link(tile.picture),
    }  # fmt: skip
    return {name: value for name, value in values.items() if value not in ("", None, [])}


def _source(name: str, folder: Path, embed: bool) -> str:
    if not name or not embed:
        return _link(name)
    return data_uri((folder / name).read_bytes(), name[-4:])


def _link(name: str) -> str:
    return "../" + quote(os.fsencode(name)) if name else ""


@cache
def _around() -> tuple[str, str]:
    """What stands before and behind the facts."""
    here = files(__package__)
    template, style, script = ((here / name).read_text("utf-8") for name in ("page.html", "page.css", "page.js"))
    allowed = html.escape(policy(style, script, images="'self' file: data:"), quote=True)
    head, foot = (fill(half, policy=allowed, style=style, script=script) for half in template.split("{{facts}}"))
    return head, foot
