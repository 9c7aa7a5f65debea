"""The part of a page in which masks slide over tiles: what stands in its HTML, and the facts that its script reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.masks import encode_mask
from dlcv.runtime.pages import Html, data_uri, joined, tag
from dlcv.train.pictures.masks import TileMasks

LONGEST_SIDE = 1024
"""Of a picture in the page, in pixels; larger tiles are made smaller, and the page says so."""
RIGHT, WRONG = (236, 236, 232), (213, 94, 0)
ERRORS = "errors of the best"


def viewer(tiles: Sequence[TileMasks], card: ModelCard) -> Html:
    """Selects, slider, legend; the pictures come from `viewer_facts`."""
    note = "" if all(max(tile.image_rgb.shape[:2]) <= LONGEST_SIDE for tile in tiles) else f" Shown at {LONGEST_SIDE} pixels at most."  # fmt: skip
    return tag(
        "div",
        tag(
            "div",
            tag("label", "Tile ", tag("select", id="tile")),
            tag("label", "Over ", tag("select", id="over")),
            tag("label", "Under ", tag("select", id="under")),
            class_="tools",
        ),
        tag("div", tag("img", class_="under", alt=""), tag("img", class_="over", alt=""), tag("i", class_="edge"), class_="stack", id="stack"),
        tag(
            "label",
            tag("span", "What lies over is uncovered from the left", class_="hidden"),
            tag("input", type="range", id="split", min="0", max="100", step="1", value="50"),
            class_="split",
        ),
        tag("p", "Slide, drag in the picture, or use the arrow keys; left of the line is what lies over.", note, class_="hint"),
        legend(card),
        id="viewer",
    )  # fmt: skip


def legend(card: ModelCard) -> Html:
    """The classes with their colours."""
    items = (tag("li", tag("i", class_=f"swatch k{k}"), name) for k, name in enumerate(card.classes))
    wrong = tag("li", tag("i", class_="swatch wrong"), "wrong, among the errors")
    return tag("ul", *items, wrong, class_="legend", aria_label="Classes")


def palette_style(card: ModelCard) -> str:
    """The classes' colours as rules of the page's style; the policy allows none in an element."""
    colours = "".join(f".k{k} {{ background: #{r:02x}{g:02x}{b:02x}; }}\n" for k, (r, g, b) in enumerate(card.palette))
    return colours + ".wrong {{ background: #{:02x}{:02x}{:02x}; }}\n".format(*WRONG)


def viewer_facts(tiles: Sequence[TileMasks], card: ModelCard) -> list[dict[str, Any]]:
    """Each tile with its layers, as addresses that hold the pictures."""
    return [
        {"name": _text(tile.name), "layers": [{"name": name, "src": src} for name, src in _layers(tile, card)]}
        for tile in tiles
    ]


def viewer_script(facts: str) -> Html:
    """The block from which the page's script reads them; `facts` from `json_text`."""
    return joined(Html('<script type="application/json" id="facts">'), Html(facts), Html("</script>"))


def _layers(tile: TileMasks, card: ModelCard) -> Sequence[tuple[str, str]]:
    best = next(mask for name, mask in tile.masks.items() if name.startswith("best"))
    wrong = (best != tile.masks["truth"]).astype(np.uint8)
    masks = [
        (name, data_uri(encode_mask(_thinned(mask), card.palette, level=9), ".png"))
        for name, mask in tile.masks.items()
    ]
    errors = data_uri(encode_mask(_thinned(wrong), (RIGHT, WRONG), level=9), ".png")
    return [("image", data_uri(_jpeg(tile.image_rgb), ".jpg")), *masks, (ERRORS, errors)]


def _size_wh(pixels: NDArray[np.uint8]) -> tuple[int, int]:
    height, width = pixels.shape[:2]
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _thinned(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(mask, _size_wh(mask), interpolation=cv2.INTER_NEAREST), np.uint8)


def _jpeg(image_rgb: NDArray[np.uint8]) -> bytes:
    small = cv2.resize(image_rgb, _size_wh(image_rgb), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    return bytes(data)


def _text(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()
