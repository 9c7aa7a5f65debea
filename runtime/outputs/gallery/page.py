"""The gallery's page: one HTML file with its style, its script and the facts of all tiles inside.

What comes from outside, names of files and classes, reasons, stands in one JSON block in which `<` is an escape, and the script
puts it on the page as text, never as HTML. The page's policy (CSP) allows the one script, by its hash, and no network. Up to
`EMBEDDED_BYTES` of thumbnails stand in the page itself, which can then be sent as one file; more are loaded from the files
beside it, a page's worth at a time.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dlcv.runtime.card import ModelCard
from dlcv.runtime.files import whole_file
from dlcv.runtime.version import __version__

EMBEDDED_BYTES = 16 << 20
_MIME = {".jpg": "image/jpeg", ".png": "image/png"}


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
    embedded = sum(entry.stat().st_size for entry in os.scandir(path.parent) if entry.name[-4:] in _MIME)
    with whole_file(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        head, foot = _around()
        file.write(head)
        file.write(_json(_facts(card))[:-1] + ', "tiles": [')
        for number, tile in enumerate(tiles):
            file.write(
                (",\n" if number else "\n") + _json(_values(tile, path.parent.parent, embedded <= EMBEDDED_BYTES))
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
    data = base64.b64encode((folder / name).read_bytes()).decode()
    return f"data:{_MIME[name[-4:]]};base64,{data}"


def _link(name: str) -> str:
    return "../" + quote(os.fsencode(name)) if name else ""


def _json(values: dict[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=True).replace("<", "\\u003c")


@cache
def _around() -> tuple[str, str]:
    """What stands before and behind the facts."""
    here = files(__package__)
    template, style, script = ((here / name).read_text("utf-8") for name in ("page.html", "page.css", "page.js"))
    policy = (
        "default-src 'none'; img-src 'self' file: data:; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'"
    )
    page = template.replace("{{policy}}", html.escape(policy, quote=True))
    head, foot = page.replace("{{style}}", style).replace("{{script}}", script).split("{{facts}}")
    return head, foot


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
