"""Tiles in little memory are the tiles that were put in."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from dlcv.runtime.tiles import tile_list, twins
from dlcv.runtime.tiles.tile_list import CHUNK, Tile, TileList, in_order, marked, unmarked

TILES = [
    Tile("in/a.png", "a.png", True), Tile("in/b.png", "b.png", False), Tile("in/c.tif", "c.tif", True, large=True),
    Tile("in/d.tif", "d.tif", False, large=True), Tile("in/sub/new\nline.png", "sub/new\nline.png", True),
    Tile(os.fsdecode(b"in/sub/\xff\xfe.png"), os.fsdecode(b"sub/\xff\xfe.png"), True), Tile("/x/y.png", "y.png"),
    Tile("s3://b/k%20.png", "k .png"), Tile("s3://b/c/", "c/"), Tile("nul\0.png", "nul\0.png"), Tile("é/日.png", "日.png", True),
]  # fmt: skip


def facts(tiles: object) -> list[tuple[str, str, bool, bool]]:
    return [(tile.where, tile.key, tile.plain, tile.large) for tile in tiles]  # type: ignore[attr-defined]


def test_they_come_back_as_they_were_put_in() -> None:
    found = TileList(TILES)
    assert facts(found) == facts(TILES) == facts(found[number] for number in range(len(TILES)))
    assert found == TILES and found != TILES[1:] and TileList() == [] and not TileList()
    assert (found[-1], found[2:4], found[::3]) == (TILES[-1], TILES[2:4], TILES[::3])
    with pytest.raises(IndexError):
        found[len(TILES)]
    assert facts(found.kept(number % 2 for number in range(len(TILES)))) == facts(TILES[1::2])


def test_many_of_one_folder_and_each_by_its_number() -> None:
    tiles = [Tile(f"in/{number:05}.png", f"{number:05}.png", True) for number in range(2 * CHUNK + 3)]
    found = TileList(tiles)
    assert len(found) == len(tiles) and found == tiles
    assert [found[number] for number in (0, CHUNK - 1, CHUNK, -1)] == [tiles[n] for n in (0, CHUNK - 1, CHUNK, -1)]


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 100])
def test_names_come_in_the_order_of_strings(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more names than are sorted at once, too; links among them, and names whose bytes are in another order."""
    monkeypatch.setattr(tile_list, "RUN", 8)
    odd = ["a", "a.png", "a.png.png", "a-b.png", os.fsdecode(b"a\xff.png"), "a\ue000.png", "a\U0001f600.png", "aé.png"]
    names = (odd + [f"n{number}.png" for number in range(count)])[:count]
    given = [marked(name, plain=number % 3 > 0) for number, name in enumerate(names)]
    random.Random(count).shuffle(given)
    assert [unmarked(name) for name in in_order(given)] == sorted(names)
    assert sorted(in_order(given)) == sorted(given)


def test_names_that_are_there_twice_are_found_and_equal_hashes_alone_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [("a", 1), ("bb", 2), ("c", 3), ("bb", 4), ("bb", 5), ("d", 6)]
    assert list(twins.twins(lambda: pairs)) == [("bb", 2, 4), ("bb", 2, 5)]
    assert list(twins.twins(lambda: pairs[:3])) == list(twins.twins(lambda: pairs[:0])) == []
    monkeypatch.setattr(twins, "hash", len, raising=False)  # so that all names of one length have one
    assert list(twins.twins(lambda: pairs)) == [("bb", 2, 4), ("bb", 2, 5)]
    assert list(twins.twins(lambda: pairs[:3])) == []


def test_a_tile_of_a_run_takes_few_bytes() -> None:
    """What is kept for the whole run: of names without any likeness, and of those of a flight."""
    draw = random.Random(0)
    hashes = [f"{draw.getrandbits(128):032x}.png" for _ in range(4 * CHUNK)]
    numbers = [f"{number:09}-of-a-flight-over-some-place.png" for number in range(4 * CHUNK)]
    for names, most in ((hashes, 36), (numbers, 12)):
        found = TileList(Tile(Path("in", name), name, True) for name in names)
        held = sum(len(names) for _, _, names in found._chunks) + 200 * len(found._chunks)
        assert held < most * len(found)
