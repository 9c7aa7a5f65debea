"""Which tiles are read by windows."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from dlcv.runtime.raster import detect
from dlcv.runtime.raster.detect import mark_large, tiff_facts
from dlcv.runtime.records.output_names import name_of
from dlcv.runtime.tiles.tile_list import Tile, TileList

WriteGeo = Callable[..., Path]
GREY = np.full((8, 9, 3), 90, np.uint8)


def keys(folder: Path, **options: Any) -> list[str]:
    tiles = TileList(Tile(path, path.name) for path in sorted(folder.iterdir()) if path.suffix != ".tfw")
    return [tile.key for tile in mark_large(tiles, **{"max_pixels": 1000, **options}) if tile.large]


def test_georeferenced_tiffs_and_too_large_ones(tmp_path: Path, write_geo: WriteGeo) -> None:
    write_geo(tmp_path / "geo.tif", GREY)
    write_geo(tmp_path / "geo-big.tiff", GREY, BIGTIFF="YES", ENDIANNESS="BIG")
    write_geo(tmp_path / "only-transform.tif", GREY, crs=None)
    cv2.imwrite(str(tmp_path / "plain.tif"), GREY)
    cv2.imwrite(str(tmp_path / "plain-large.tif"), np.zeros((40, 40, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "world.tif"), GREY)
    (tmp_path / "world.tfw").write_text("1\n0\n0\n-1\n0\n0\n")
    cv2.imwrite(str(tmp_path / "tile.png"), GREY)
    cv2.imwrite(str(tmp_path / "tile.jpg"), GREY)
    (tmp_path / "broken.tif").write_bytes(b"II*\0\x08\0\0\0\xff")
    (tmp_path / "empty.tif").write_bytes(b"")
    (tmp_path / "folder.tif").mkdir()
    assert keys(tmp_path) == ["geo-big.tiff", "geo.tif", "only-transform.tif", "plain-large.tif", "world.tif"]
    assert "plain.tif" in keys(tmp_path, every_tiff=True)
    facts = tiff_facts(tmp_path / "geo-big.tiff")
    assert facts is not None
    assert (facts.size_hw, facts.georeferenced) == ((8, 9), True)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.jpeg", "progressive.jpg", "tagged.jpg", "a-jpeg.png"])
def test_large_pictures_only(tmp_path: Path, name: str) -> None:
    image = Image.fromarray(np.zeros((130, 120, 3), np.uint8))
    kind = "PNG" if name == "a.png" else "JPEG"
    image.save(tmp_path / name, kind, **({"progressive": True} if "progressive" in name else {}))
    if name == "tagged.jpg":  # what a camera writes first, a thumbnail in it, and a fill byte
        data = (tmp_path / name).read_bytes()
        exif = b"\xff\xe1\xff\xf0" + data[: data.index(b"\xff\xda")].ljust(0xFFEE, b"\0")
        (tmp_path / name).write_bytes(data[:2] + exif + b"\xff" + data[2:])
    assert keys(tmp_path, max_pixels=120 * 130) == []
    assert keys(tmp_path, max_pixels=120 * 130 - 1) == [name]


@pytest.mark.parametrize(("mode", "name"), [("1", "a.png"), ("L", "a.png"), ("L", "a.jpg")])
def test_a_large_picture_without_anything_on_it_is_large(tmp_path: Path, mode: str, name: str) -> None:
    """180 million pixels take 23 KB as a PNG of 1 bit; here are fewer of them."""
    image = Image.new(mode, (4000, 3000))
    image.save(tmp_path / name, optimize=True)
    assert (tmp_path / name).stat().st_size < 60_000
    assert keys(tmp_path, max_pixels=4000 * 3000 - 1) == [name]


def test_each_tile_of_a_mixed_list_is_looked_at_where_it_is(tmp_path: Path, write_geo: WriteGeo) -> None:
    """By its place alone: a URL by none, a link by its name without the list's marks, a tile that was marked before again."""
    write_geo(tmp_path / "geo.tif", GREY)
    (tmp_path / "link.tif").symlink_to("geo.tif")
    cv2.imwrite(str(tmp_path / "plain.tif"), GREY)
    tiles = TileList(
        [
            Tile("s3://bucket/a/geo.tif", "a/geo.tif"),
            Tile("s3://bucket/a/x.tif", "a/x.tif"),
            Tile(tmp_path / "geo.tif", "geo.tif", plain=True),
            Tile(tmp_path / "link.tif", "link.tif"),
            Tile(tmp_path / "plain.tif", "plain.tif", plain=True),
            Tile(tmp_path / "geo.tif", "by another name", plain=True),
        ]
    )
    marked = mark_large(tiles, max_pixels=1000)
    assert [(tile.key, tile.plain) for tile in marked if tile.large] == [
        ("geo.tif", True), ("link.tif", False), ("by another name", True),
    ]  # fmt: skip
    assert [tile.key for tile in mark_large(marked, max_pixels=1000) if tile.large] == [
        "geo.tif", "link.tif", "by another name",
    ]  # fmt: skip
    assert [tile.where for tile in marked] == [tile.where for tile in tiles]


def test_a_file_too_small_to_be_large_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), GREY)
    cv2.imwrite(str(tmp_path / "a.jpg"), GREY)
    monkeypatch.setattr(detect, "_picture_pixels", lambda where: pytest.fail("a small file is not opened"))
    assert keys(tmp_path, max_pixels=178_956_970) == []


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG",
        b"\xff\xd8\xff",
        b"\xff\xd8" + bytes(40),
        b"\xff\xd8\xff\xda" + bytes(40),
        b"\xff\xd8" + b"\xff" * 9000,
        b"II*\0",
        b"text",
    ],
)
def test_what_is_damaged_is_a_tile(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    assert keys(tmp_path, max_pixels=1) == []


def test_without_rasterio_a_line_says_so(tmp_path: Path, write_geo: WriteGeo, monkeypatch: pytest.MonkeyPatch) -> None:
    write_geo(tmp_path / "geo.tif", GREY)
    monkeypatch.setattr(detect, "has_rasterio", lambda: False)
    said: list[str] = []
    assert keys(tmp_path, say=said.append) == []
    assert said == [
        "1 georeferenced or very large images, such as geo.tif, are run as plain tiles without rasterio; "
        "install it with: pip install 'dlcv-edge[geo]'"
    ]


def test_a_large_tiles_mask_is_a_tif() -> None:
    large, small = Tile(Path("a.tif"), "x/a.tif", large=True), Tile(Path("b.tif"), "x/b.tif")
    assert [name_of(large), name_of(small)] == ["x/a.tif.tif", "x/b.tif.png"]
    assert name_of(large, "{stem}_mask.png") == "a_mask.tif"
    assert name_of(large, "{path}") == "x/a.tif"


def test_of_a_tag_that_stands_there_twice_the_first_counts(tmp_path: Path) -> None:
    entries = [(256, 4, 1, 60_000), (256, 4, 1, 21), (257, 4, 1, 13)]
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    (tmp_path / "a.tif").write_bytes(b"II*\0" + struct.pack("<I", 8) + body + bytes(12))
    facts = tiff_facts(tmp_path / "a.tif")
    assert facts is not None
    assert facts.size_hw == (13, 60_000)
