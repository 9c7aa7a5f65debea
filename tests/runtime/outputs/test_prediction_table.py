"""Where predictions go: what is appended, counted, refused, and there already."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import OutputError, TileError, UsageError
from dlcv.runtime.outputs.prediction_table import PredictionTable
from dlcv.runtime.tiles.tile_list import Tile

CARD = ModelCard(
    model="m", task="classification", classes=("crop", "forest", "river"), palette=(), input_size_hw=(4, 4),
    mean_rgb=(0.0, 0.0, 0.0), std_rgb=(1.0, 1.0, 1.0), fit="centre-crop", short_side=4, head="probs",
)  # fmt: skip
FOREST = np.array([0.25, 0.625, 0.125], np.float32)
NAMES = {"csv": "predictions.csv", "jsonl": "predictions.jsonl"}


@pytest.fixture
def tiles(tmp_path: Path) -> list[Tile]:
    found = [Tile(tmp_path / name, name) for name in ("a.jpg", "b.jpg", "c.jpg")]
    for tile in found:
        tile.path.touch()
    return found


def _run(table: PredictionTable, tiles: list[Tile], probs: np.ndarray = FOREST) -> None:
    with table:
        for tile in tiles:
            table.note(tile, table.write(tile, probs))


@pytest.mark.parametrize("form", NAMES)
def test_a_row_an_image(tmp_path: Path, tiles: list[Tile], form: str) -> None:
    table = PredictionTable(tmp_path, CARD, form, top_k=2)
    assert dict(table.names()) == {NAMES[form]: "the table of predictions"}
    with table:
        row = table.write(tiles[0], FOREST)
        assert table.by_class()["forest"] == 0, "counted once it is written"
        assert table.note(tiles[0], row) == NAMES[form]
        text = (tmp_path / NAMES[form]).read_text()  # at once, not when the run ends
    assert (
        text
        == {
            "csv": "path,class,probability,class_2,probability_2\na.jpg,forest,0.625,crop,0.25\n",
            "jsonl": '{"path": "a.jpg", "class": "forest", "index": 1, "probability": 0.625, "top": '
            '[{"class": "forest", "probability": 0.625}, {"class": "crop", "probability": 0.25}]}\n',
        }[form]
    )
    assert (table.counted, table.by_class()) == ("images", {"crop": 0, "forest": 1, "river": 0})


def test_top_k_is_at_most_the_number_of_classes(tmp_path: Path) -> None:
    with PredictionTable(tmp_path, CARD, top_k=5):
        pass
    assert (tmp_path / "predictions.csv").read_text().count("class") == 3


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_probabilities_that_are_no_numbers_are_the_tiles_failure(tmp_path: Path, tiles: list[Tile], bad: float) -> None:
    with pytest.raises(TileError, match=r"^the probabilities are not numbers; export the model in fp32"):
        PredictionTable(tmp_path, CARD).write(tiles[0], np.array([0.5, bad, 0.5], np.float32))


@pytest.mark.parametrize("form", NAMES)
def test_what_is_left_and_forgotten(tmp_path: Path, tiles: list[Tile], form: str) -> None:
    _run(PredictionTable(tmp_path, CARD, form), tiles)
    before = dict.fromkeys(("a.jpg", "b.jpg", "c.jpg"), NAMES[form])
    table = PredictionTable(tmp_path, CARD, form)
    assert table.left(tiles, before) == []
    assert table.by_class() == {"crop": 0, "forest": 3, "river": 0}
    assert PredictionTable(tmp_path, CARD, form).left(tiles, {"a.jpg": NAMES[form]}) == tiles[1:]
    assert PredictionTable(tmp_path, CARD, form).left(tiles, before | {"a.jpg": "a.jpg.png"}) == tiles[:1]

    table = PredictionTable(tmp_path, CARD, form)
    assert table.left(tiles, {key: before[key] for key in ("a.jpg", "b.jpg")}) == tiles[2:]
    table.clear_up(tiles[2:])
    assert PredictionTable(tmp_path, CARD, form).left(tiles, before) == tiles[2:], "done in the manifest alone"
    _run(table, tiles[2:], FOREST[::-1])
    text = (tmp_path / NAMES[form]).read_text()
    assert [text.count(tile.key) for tile in tiles] == [1, 1, 1]
    assert table.by_class() == {"crop": 0, "forest": 3, "river": 0}


def test_a_table_of_somebody_else_is_refused(tmp_path: Path, tiles: list[Tile]) -> None:
    (tmp_path / "predictions.csv").write_text("id,label\n1,x\n")
    with pytest.raises(
        OutputError, match="is not a table of predictions of dlcv-infer; expected the columns path, class"
    ):
        PredictionTable(tmp_path, CARD).left(tiles, {})


def test_settings_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown format 'xml'; it is one of csv, jsonl"):
        PredictionTable(tmp_path, CARD, "xml")
    with pytest.raises(UsageError, match="top_k is 0, expected at least 1"):
        PredictionTable(tmp_path, CARD, top_k=0)
