"""Confidence maps and their table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dlcv.runtime.answers import Segmented
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import TileError, UsageError
from dlcv.runtime.outputs.confidence import ConfidenceMaps, ConfidenceTable, require_probabilities
from dlcv.runtime.outputs.extras import Seen
from dlcv.runtime.tiles.tile_list import Tile

CONFIDENCE = np.array([[1.0, 0.5], [0.25, 0.4999]], np.float32)
SEEN = Seen(segmented=Segmented(np.zeros((2, 2), np.uint8), CONFIDENCE))


def test_a_map_is_a_grey_png_of_255ths(tmp_path: Path) -> None:
    ConfidenceMaps(tmp_path).write(Tile(tmp_path / "a", "a.jpg"), SEEN)
    with Image.open(tmp_path / "confidence/a.jpg.png") as image:
        assert image.mode == "L"
        assert np.asarray(image).tolist() == [[255, 128], [64, 127]]


def test_the_table(tmp_path: Path) -> None:
    tile = Tile(tmp_path / "a", "a,b.jpg")
    with ConfidenceTable(tmp_path) as table:
        table.note(table.write(tile, SEEN))
    assert (tmp_path / "confidence.csv").read_text() == 'path,mean,below_half\n"a,b.jpg",0.5625,0.5000\n'


def test_a_pixel_without_a_number_is_the_tiles_failure(tmp_path: Path) -> None:
    broken = Seen(segmented=Segmented(np.zeros((1, 1), np.uint8), np.array([[np.nan]], np.float32)))
    for extra in (ConfidenceMaps(tmp_path), ConfidenceTable(tmp_path)):
        with pytest.raises(TileError, match="the probabilities are not numbers; export the model in fp32"):
            extra.write(Tile(tmp_path / "a", "a"), broken)


def test_an_engine_of_masks_is_refused(tiny_card: ModelCard) -> None:
    with pytest.raises(UsageError, match=r"m\.onnx gives mask alone; export the model with dlcv-export --head probs$"):
        require_probabilities(tiny_card.changed(head="mask"), "m.onnx")
    for head in ("probs", "logits"):
        require_probabilities(tiny_card.changed(head=head), "m.onnx")
