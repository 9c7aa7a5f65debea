"""What the viewer's script reads: each layer's pixels, and the classes' colours as the page's style."""

from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dlcv.runtime.card.card import ModelCard
from dlcv.train.pictures.masks import TileMasks
from dlcv.train.report.viewer import WRONG, palette_style, viewer, viewer_facts

CARD = ModelCard(
    model="m", task="segmentation", classes=("land", "<b>sea"), palette=((200, 60, 0), (0, 60, 200)), input_size_hw=(4, 4),
    mean_rgb=(0.0, 0.0, 0.0), std_rgb=(1.0, 1.0, 1.0),
)  # fmt: skip


def tile(height: int = 2, width: int = 3) -> TileMasks:
    truth = np.zeros((height, width), np.uint8)
    best = truth.copy()
    best[0, 0] = 1
    image = np.full((height, width, 3), 100, np.uint8)
    return TileMasks("caf\udce9", image, {"truth": truth, "epoch 1": 1 - truth, "best, epoch 2": best})


def pixels(source: str) -> NDArray[np.uint8]:
    with Image.open(BytesIO(base64.b64decode(source.split(",")[1]))) as image:
        return np.array(image)


def test_layers_are_image_masks_and_what_is_wrong() -> None:
    facts = viewer_facts([tile()], CARD)
    assert facts[0]["name"] == "caf\\udce9"
    layers = {layer["name"]: layer["src"] for layer in facts[0]["layers"]}
    assert list(layers) == ["image", "truth", "epoch 1", "best, epoch 2", "errors of the best"]
    assert pixels(layers["image"]) == pytest.approx(np.full((2, 3, 3), 100), abs=3), "JPEG loses a little"
    assert pixels(layers["best, epoch 2"]).tolist() == [[1, 0, 0], [0, 0, 0]]
    assert pixels(layers["errors of the best"]).tolist() == [[1, 0, 0], [0, 0, 0]], "1 where it differs from the truth"
    with Image.open(BytesIO(base64.b64decode(layers["errors of the best"].split(",")[1]))) as image:
        assert image.convert("RGB").getpixel((0, 0)) == WRONG


def test_a_large_tile_is_shown_smaller_and_says_so() -> None:
    layers = viewer_facts([tile(512, 2048)], CARD)[0]["layers"]
    assert {pixels(layer["src"]).shape[:2] for layer in layers} == {(256, 1024)}
    assert "Shown at 1024 pixels at most." in viewer([tile(512, 2048)], CARD)
    assert "Shown at" not in viewer([tile()], CARD)


def test_colours_are_the_classes_own() -> None:
    assert palette_style(CARD).startswith(".k0 { background: #c83c00; }\n.k1 { background: #003cc8; }\n")
    assert '<i class="swatch k1"></i>&lt;b&gt;sea' in viewer([tile()], CARD)
