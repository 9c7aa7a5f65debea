"""The written file is a Cloud Optimized GeoTIFF, by its bytes; georeference, palette and names are in it."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import OutputError
from dlcv.runtime.raster.cog import CogMask, nodata_of
from dlcv.runtime.raster.library import open_image

WriteGeo = Callable[..., Path]
CARD = ModelCard(
    model="fcn8s", task="segmentation", classes=("sea", "land", "röad"), palette=((0, 0, 200), (10, 200, 10), (99, 98, 97)),
    input_size_hw=(64, 64), mean_rgb=(0.0, 0.0, 0.0), std_rgb=(1.0, 1.0, 1.0), head="probs",
)  # fmt: skip


def written(path: Path, image: Path, mask: NDArray[np.uint8]) -> CogMask:
    with open_image(image) as like:
        cog = CogMask(path, like, CARD)
        for top in range(0, len(mask), 512):
            cog.write(top, mask[top : top + 512])
        cog.finish()
    return cog


@pytest.fixture
def mask() -> NDArray[np.uint8]:
    blocks = np.random.default_rng(0).integers(0, 3, (14, 13), dtype=np.uint8)
    return np.repeat(np.repeat(blocks, 100, 0), 100, 1)[:1390, :1250].copy()


@pytest.fixture
def image(tmp_path: Path, write_geo: WriteGeo) -> Path:
    return write_geo(tmp_path / "image.tif", np.zeros((1390, 1250), np.uint8))


def directories(data: bytes) -> list[dict[int, tuple[int, ...]]]:
    """The directories of a little-endian TIFF, in their chain's order: tag -> numbers."""
    assert data[:4] == b"II*\0"
    found = []
    (at,) = struct.unpack_from("<I", data, 4)
    while at:
        (entries,) = struct.unpack_from("<H", data, at)
        tags: dict[int, tuple[int, ...]] = {-1: (at,)}
        for k in range(entries):
            tag, kind, count, _ = struct.unpack_from("<HHII", data, at + 2 + 12 * k)
            if kind in (3, 4):
                size = {3: 2, 4: 4}[kind] * count
                place = at + 10 + 12 * k if size <= 4 else struct.unpack_from("<I", data, at + 10 + 12 * k)[0]
                tags[tag] = struct.unpack_from(f"<{count}{'HI'[kind - 3]}", data, place)
        found.append(tags)
        (at,) = struct.unpack_from("<I", data, at + 2 + 12 * entries)
    return found


def assert_cloud_optimized(path: Path) -> None:
    """The rules of the OGC standard 21-026: tiled; directories before all pixels, from large to small; the pixels of the
    smallest overview first and of the full image last."""
    data = path.read_bytes()
    levels = directories(data)
    assert len(levels) > 1
    widths = [level[256][0] for level in levels]
    assert widths == sorted(widths, reverse=True)
    assert max(levels[-1][256][0], levels[-1][257][0]) <= 512, "overviews go down to a single block"
    for level in levels:
        assert (level[322], level[323]) == ((512,), (512,)), "tiles of 512 x 512"
    offsets = [[offset for offset in level[324] if offset] for level in levels]
    assert max(level[-1][0] for level in levels) < min(min(level) for level in offsets)
    for larger, smaller in pairwise(offsets):
        assert max(smaller) < min(larger)


def test_a_cloud_optimized_geotiff(tmp_path: Path, image: Path, mask: NDArray[np.uint8]) -> None:
    out = tmp_path / "out" / "mask.tif"
    out.parent.mkdir()
    cog = written(out, image, mask)
    assert_cloud_optimized(out)
    with pytest.raises(AssertionError):
        assert_cloud_optimized(image)  # the check bites
    with rasterio.open(out) as file, rasterio.open(image) as like:
        np.testing.assert_array_equal(file.read(1), mask)
        assert (file.crs, file.transform, file.nodata, file.dtypes) == (like.crs, like.transform, 255, ("uint8",))
        assert [file.colormap(1)[k][:3] for k in range(3)] == list(CARD.palette)
        assert json.loads(file.tags()["DLCV_CLASSES"]) == list(CARD.classes)
        assert file.tags(1)["CLASS_2"] == "röad"
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        half = file.read(1, out_shape=(695, 625))
        assert file.overviews(1) == [2, 4]
        assert set(np.unique(half)) <= {0, 1, 2}, "classes are not averaged"
        assert np.mean(half == mask[::2, ::2]) > 0.99  # blocks of 100: few pixels of an overview lie on an edge
    counts = np.bincount(mask.ravel(), minlength=256)
    np.testing.assert_array_equal(cog.pixels, counts)
    assert cog.square_metres is not None
    np.testing.assert_allclose(cog.square_metres, counts * 0.25)
    assert [path.name for path in out.parent.iterdir()] == ["mask.tif"]


def test_strips_in_any_order(tmp_path: Path, image: Path, mask: NDArray[np.uint8]) -> None:
    with open_image(image) as like:
        cog = CogMask(tmp_path / "mask.tif", like, CARD)
        for top in (1024, 0, 512):
            cog.write(top, mask[top : top + 512])
        cog.finish()
    with rasterio.open(tmp_path / "mask.tif") as file:
        np.testing.assert_array_equal(file.read(1), mask)


def test_ground_control_points_and_no_georeference(tmp_path: Path, write_geo: WriteGeo) -> None:
    points = [GroundControlPoint(row, col, 100.0 + col, 50.0 - row) for row, col in ((0, 0), (0, 7), (7, 0), (7, 7))]
    blank = np.zeros((8, 8), np.uint8)
    path = write_geo(tmp_path / "points.tif", blank, transform=None, crs=None)
    with rasterio.open(path, "r+") as file:
        file.gcps = (points, rasterio.crs.CRS.from_epsg(4326))
    written(tmp_path / "a.tif", path, blank)
    with rasterio.open(tmp_path / "a.tif") as file:
        found, crs = file.gcps
        assert [(p.row, p.col, p.x, p.y) for p in found] == [(p.row, p.col, p.x, p.y) for p in points]
        assert crs.to_epsg() == 4326
    plain = write_geo(tmp_path / "plain.tif", blank, transform=None, crs=None)
    assert written(tmp_path / "b.tif", plain, blank).square_metres is None
    with rasterio.open(tmp_path / "b.tif") as file:
        assert file.crs is None


def test_255_classes_leave_room_for_no_data_and_256_do_not() -> None:
    def card(classes: int) -> ModelCard:
        return CARD.changed(classes=tuple(map(str, range(classes))), palette=((0, 0, 0),) * classes)

    assert (nodata_of(card(3)), nodata_of(card(255)), nodata_of(card(256))) == (255, 255, None)


def test_nothing_stays_of_a_mask_that_was_given_up(tmp_path: Path, image: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with open_image(image) as like:
        cog = CogMask(out / "mask.tif", like, CARD)
        cog.write(0, np.zeros((512, 1250), np.uint8))
        assert [path.name.startswith(".mask.tif") for path in out.iterdir()] == [True]
        cog.discard()
        cog.discard()
    assert list(out.iterdir()) == []


def test_what_cannot_be_written(tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_image(image) as like, pytest.raises(OutputError, match=r"^cannot write .*missing.mask\.tif: "):
        CogMask(tmp_path / "missing" / "mask.tif", like, CARD)
    with open_image(image) as like:
        cog = CogMask(tmp_path / "mask.tif", like, CARD)

        def full(*_: Any, **__: Any) -> None:
            raise rasterio.errors.RasterioIOError("No space left on device")

        monkeypatch.setattr(rasterio.shutil, "copy", full)
        with pytest.raises(OutputError, match="No space left on device"):
            cog.finish()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.tif"]
