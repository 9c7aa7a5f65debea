"""The table of class areas, and what all tables of extras have in common."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dlcv.runtime.answers import Segmented
from dlcv.runtime.errors import OutputError
from dlcv.runtime.outputs.areas import Areas, area_rows
from dlcv.runtime.outputs.extras import Seen
from dlcv.runtime.tiles.tile_list import Tile

SEEN = Seen(segmented=Segmented(np.array([[0, 0, 2], [0, 7, 2]], np.uint8)))
HEADER = "path,class,pixels,share,square_metres\n"
A, B = (f"{key},land,3,0.500000,\n{key},water,2,0.333333,\n{key},7,1,0.166667,\n" for key in "ab")


def areas(folder: Path) -> Areas:
    return Areas(folder, ("land", "road", "water"))


def fill(folder: Path, *keys: str) -> None:
    with areas(folder) as table:
        for key in keys:
            table.note(table.write(Tile(folder / key, key), SEEN))


def test_a_row_a_class_that_is_there(tmp_path: Path) -> None:
    fill(tmp_path, "a", "b")
    assert (tmp_path / "areas.csv").read_text() == HEADER + A + B


def test_square_metres() -> None:
    assert area_rows([4, 0, 12], ("land", "road", "water"), [1.0, 0.0, 3.0]) == [
        ["land", "4", "0.250000", "1"],
        ["water", "12", "0.750000", "3"],
    ]


def test_what_is_left_and_cleared_up(tmp_path: Path) -> None:
    tiles = [Tile(tmp_path / key, key) for key in ("a", "b", "c")]
    assert areas(tmp_path).left(tiles) == {"a", "b", "c"}
    fill(tmp_path, "a", "b")
    assert areas(tmp_path).left(tiles) == {"c"}
    path = tmp_path / "areas.csv"
    path.write_text(path.read_text() + "c,land,3,0.500000,\nc,wat")  # killed while it wrote the rows of c
    areas(tmp_path).clear_up([tiles[0], tiles[2]])
    assert path.read_text() == HEADER + B
    fill(tmp_path, "c")
    assert areas(tmp_path).left(tiles) == {"a"}


def test_a_table_that_is_whole_is_not_written_again(tmp_path: Path) -> None:
    fill(tmp_path, "a")
    before = (tmp_path / "areas.csv").stat()
    areas(tmp_path).clear_up([Tile(tmp_path / "b", "b")])
    after = (tmp_path / "areas.csv").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_another_table_by_that_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "areas.csv").write_text("parcel,owner\n")
    with pytest.raises(
        OutputError, match=r"areas\.csv is not the table areas\.csv of dlcv-infer; expected the columns path"
    ):
        areas(tmp_path).left([Tile(tmp_path / "a", "a")])
