"""An image in windows: each pixel where it belongs, each row read once, and bands, 16 bits and nodata."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dlcv.runtime.errors import TileError
from dlcv.runtime.fitting.fitting import fit_tile
from dlcv.runtime.raster import source as module
from dlcv.runtime.raster.bands import Bands
from dlcv.runtime.raster.source import Source
from dlcv.runtime.tiles.decode import DecodeOptions, decode_file

WriteGeo = Callable[..., Path]
SIDE = (32, 40)


def noise(height: int, width: int, bands: int = 3, dtype: Any = np.uint8) -> NDArray[Any]:
    top = int(np.iinfo(dtype).max)
    return np.random.default_rng(height * width).integers(0, top, (height, width, bands), dtype=dtype)


def windows(source: Source) -> list[NDArray[np.uint8]]:
    return [source.window(r, c)[0] for r in range(len(source.rows.starts)) for c in range(len(source.columns.starts))]


@pytest.fixture(autouse=True)
def low_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STRIP_ROWS", 16)


@pytest.mark.parametrize("size", [(1, 1), (20, 30), (32, 40), (33, 40), (20, 90), (150, 130), (97, 41)])
@pytest.mark.parametrize(
    "layout", [{"tiled": True, "blockxsize": 16, "blockysize": 16}, {"blockysize": 1}, {"blockysize": 13}]
)
def test_the_same_windows_as_of_an_image_in_memory(
    tmp_path: Path, write_geo: WriteGeo, size: tuple[int, int], layout: dict[str, Any]
) -> None:
    image = noise(*size)
    source = Source(write_geo(tmp_path / "a.tif", image, compress="deflate", **layout), SIDE, 0.25)
    expected = fit_tile(image, SIDE, "windows", 0.25).windows
    found = windows(source)
    assert len(found) == len(expected)
    for window, same in zip(found, expected, strict=True):
        np.testing.assert_array_equal(window, same)
    assert not source._strips, "what no window needs any more is let go"
    source.close()


def test_rows_are_read_once_and_few_are_held(
    tmp_path: Path, write_geo: WriteGeo, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_geo(tmp_path / "a.tif", noise(600, 130), tiled=True, blockxsize=16, blockysize=16)
    read: list[int] = []
    bands_read = Bands.read

    def counted(self: Bands, dataset: Any, window: Any) -> Any:
        read.append(int(window.row_off))
        return bands_read(self, dataset, window)

    monkeypatch.setattr(Bands, "read", counted)
    source = Source(path, SIDE, 0.25)
    most = 0
    for row in range(len(source.rows.starts)):
        for column in range(len(source.columns.starts)):
            source.window(row, column)
            most = max(most, len(source._strips))
    assert read == list(range(0, 600, 16))
    assert most <= 6  # of 38: two rows of windows, 56 pixels, in strips of 16


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_pictures_row_by_row(tmp_path: Path, name: str) -> None:
    smooth = cv2.resize(noise(12, 11), (110, 150), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(tmp_path / name), smooth)
    source = Source(tmp_path / name, SIDE, 0.25)
    expected = fit_tile(decode_file(tmp_path / name), SIDE, "windows", 0.25).windows
    for window, same in zip(windows(source), expected, strict=True):
        difference = np.abs(window.astype(int) - same)
        # GDAL and OpenCV each bring a JPEG library; they differ in how they scale the colours up, most at sharp edges
        assert difference.mean() <= (0 if name == "a.png" else 3)
        assert difference.max() <= (0 if name == "a.png" else 16)


def test_which_bands(tmp_path: Path, write_geo: WriteGeo) -> None:
    image = noise(10, 12, 5)
    path = write_geo(tmp_path / "a.tif", image)

    def first(path: Path, bands: tuple[int, ...] | None = None) -> NDArray[np.uint8]:
        source = Source(path, SIDE, 0.25, bands)
        top, left = source.rows.pad_before, source.columns.pad_before
        return source.window(0, 0)[0][top : top + 10, left : left + 12]

    np.testing.assert_array_equal(first(path), image[..., :3])
    np.testing.assert_array_equal(first(path, (4, 3, 2)), image[..., [3, 2, 1]])
    np.testing.assert_array_equal(first(path, (5,)), image[..., [4, 4, 4]])
    with pytest.raises(TileError, match="--bands 4,3,6: the image has 5 bands"):
        first(path, (4, 3, 6))
    grey = write_geo(tmp_path / "grey.tif", image[..., 0])
    np.testing.assert_array_equal(first(grey), image[..., [0, 0, 0]])
    with pytest.raises(TileError, match=r"2 bands, expected 1 .* pass --bands"):
        first(write_geo(tmp_path / "two.tif", image[..., :2], alpha="NO"))


def test_bands_are_taken_by_their_colours(tmp_path: Path, write_geo: WriteGeo) -> None:
    import rasterio
    from rasterio.enums import ColorInterp

    image = noise(32, 40, 4)
    path = write_geo(tmp_path / "a.tif", image)
    with rasterio.open(path, "r+") as file:
        file.colorinterp = (ColorInterp.undefined, ColorInterp.blue, ColorInterp.green, ColorInterp.red)
    np.testing.assert_array_equal(Source(path, SIDE, 0.25).window(0, 0)[0], image[..., [3, 2, 1]])


def test_a_palette_is_expanded(tmp_path: Path, write_geo: WriteGeo) -> None:
    import rasterio

    indices = np.random.default_rng(0).integers(0, 3, (32, 40), dtype=np.uint8)
    path = write_geo(tmp_path / "a.tif", indices, photometric="palette")
    palette = {0: (1, 2, 3, 255), 1: (10, 20, 30, 255), 2: (200, 100, 0, 255)}
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, palette)
    expected = np.array([palette[k][:3] for k in range(3)], np.uint8)[indices]
    np.testing.assert_array_equal(Source(path, SIDE, 0.25).window(0, 0)[0], expected)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_16_bits_as_in_plain_tiles(tmp_path: Path, write_geo: WriteGeo, dtype: Any) -> None:
    image = noise(32, 40, 3, dtype)
    path = write_geo(tmp_path / "a.tif", image)
    window = Source(path, SIDE, 0.25, scale_16bit=(100, 9000)).window(0, 0)[0]
    expected = np.floor(np.clip((image.astype(float) - 100) * 255 / 8900, 0, 255) + 0.5)
    np.testing.assert_array_equal(window, expected)
    if dtype is np.uint16:
        np.testing.assert_array_equal(window, decode_file(path, DecodeOptions(scale_16bit=(100, 9000))))
    with pytest.raises(TileError, match="16-bit values, expected 8-bit; give --scale-16bit MIN,MAX"):
        Source(path, SIDE, 0.25)


def test_other_values_are_refused(tmp_path: Path, write_geo: WriteGeo) -> None:
    path = write_geo(tmp_path / "a.tif", noise(8, 8).astype(np.float32))
    with pytest.raises(TileError, match="float32 values, expected 8-bit unsigned, or 16-bit with --scale-16bit"):
        Source(path, SIDE, 0.25)


def test_where_there_is_no_data(tmp_path: Path, write_geo: WriteGeo) -> None:
    image = noise(70, 90)
    image[image.sum(-1) == 0] = 1
    hole = np.zeros((70, 90), np.bool_)
    hole[:40, 50:] = True
    image[hole] = 0
    alpha = np.where(hole, 0, 255).astype(np.uint8)
    paths = [
        write_geo(tmp_path / "nodata.tif", image, nodata=0),
        write_geo(tmp_path / "alpha.tif", np.dstack([image, alpha]), photometric="RGB", alpha="YES"),
        write_geo(tmp_path / "none.tif", image),
    ]
    for path in paths:
        source = Source(path, SIDE, 0.25)
        for r, y in enumerate(source.rows.starts):
            for c, x in enumerate(source.columns.starts):
                window, valid = source.window(r, c)
                np.testing.assert_array_equal(window, image[y : y + 32, x : x + 40])
                expected = ~hole[y : y + 32, x : x + 40]
                if path.stem == "none" or expected.all():
                    assert valid is None
                else:
                    np.testing.assert_array_equal(valid, expected)


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "text.tif").write_text("not an image")
    with pytest.raises(TileError, match="it is no TIFF, JPEG or PNG, which are what is read by windows"):
        Source(tmp_path / "text.tif", SIDE, 0.25)
    (tmp_path / "cut.tif").write_bytes(b"II*\0\x08\0\0\0")
    with pytest.raises(TileError, match="GDAL cannot open it: "):
        Source(tmp_path / "cut.tif", SIDE, 0.25)


def test_a_link_to_elsewhere_is_not_followed(tmp_path: Path, write_geo: WriteGeo) -> None:
    """A VRT names other files; GDAL would open them."""
    target = write_geo(tmp_path / "target.tif", noise(8, 8))
    vrt = f'<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename>{target}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>'
    (tmp_path / "a.tif").write_text(vrt)
    with pytest.raises(TileError, match="it is no TIFF"):
        Source(tmp_path / "a.tif", SIDE, 0.25)


def test_damaged_rows_are_told(tmp_path: Path, write_geo: WriteGeo) -> None:
    path = write_geo(tmp_path / "a.tif", noise(200, 64), compress="deflate", tiled=True, blockxsize=16, blockysize=16)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4000] = bytes(4000)
    path.write_bytes(data)
    with pytest.raises(TileError, match=r"rows \d+ to \d+ cannot be read: .*; copy the file again from its source"):
        windows(Source(path, SIDE, 0.25))


def test_a_file_cut_short_is_told_as_such(tmp_path: Path, write_geo: WriteGeo) -> None:
    """rasterio's own error says that there was another one."""
    path = write_geo(tmp_path / "a.tif", noise(200, 64), tiled=True, blockxsize=16, blockysize=16)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(TileError, match=r"rows \d+ to 199 cannot be read: .*bytes.*; copy the file again") as refused:
        windows(Source(path, SIDE, 0.25))
    assert "previous" not in str(refused.value)


def sparse(path: Path, height: int, width: int, tile: int = 512, index: int | None = None) -> Path:
    """A TIFF that claims a size and holds nothing: one tile's offset and count, or `index` of them, all 0."""
    count = -(-height // tile) * -(-width // tile) if index is None else index
    head = 8 + 2 + 12 * 9 + 4
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (322, 4, 1, tile), (323, 4, 1, tile),
        (324, 4, count, head), (325, 4, count, head + 4 * count),
    ]  # fmt: skip
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + body + bytes(8 * count))
    return path


def test_a_giant_that_holds_nothing_is_refused(tmp_path: Path) -> None:
    """300 bytes would keep a run busy for hours: 4 tiles of 65,536 x 65,536 that are not there."""
    with pytest.raises(TileError, match=r"100000 x 100000 pixels in a file of \d+ bytes, which cannot hold them"):
        Source(sparse(tmp_path / "a.tif", 100_000, 100_000, tile=65_536), SIDE, 0.25)


def test_an_image_without_data_in_its_tiles_is_none(tmp_path: Path) -> None:
    """Tiles of 512 x 512 that were never written: their index alone says that somebody meant it."""
    source = Source(sparse(tmp_path / "a.tif", 5120, 5120), SIDE, 0.25)
    assert not source.window(0, 0)[0].any()
    source.close()


def test_rows_that_do_not_fit_into_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_STRIP_BYTES", 5120 * 512 * 3 - 1)
    with pytest.raises(TileError, match="5120 x 5120 pixels: rows of that width do not fit into memory"):
        Source(sparse(tmp_path / "a.tif", 5120, 5120), SIDE, 0.25)


def with_directories(data: bytes, count: int, circle: bool = False) -> bytes:
    """A little-endian TIFF whose one directory stands there `count` times more, one leading to the next."""
    (first,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, first)
    directory, last = data[first : first + 2 + 12 * entries], first + 2 + 12 * entries
    out = bytearray(data)
    for _ in range(count):
        struct.pack_into("<I", out, last, len(out))
        out += directory
        last = len(out)
        out += bytes(4)
    struct.pack_into("<I", out, last, first if circle else 0)
    return bytes(out)


@pytest.mark.parametrize("circle", [False, True])
def test_directories_without_end(tmp_path: Path, write_geo: WriteGeo, circle: bool) -> None:
    image = noise(20, 30)
    data = write_geo(tmp_path / "a.tif", image).read_bytes()
    path = tmp_path / "many.tif"
    path.write_bytes(with_directories(data, 5, circle))
    Source(path, SIDE, 0.25).close()
    path.write_bytes(with_directories(data, 20_000, circle))
    np.testing.assert_array_equal(decode_file(path, DecodeOptions()), image)
    began = time.process_time()
    with pytest.raises(TileError) as caught:
        Source(path, SIDE, 0.25)
    assert str(caught.value) == (
        "a TIFF of more than 4096 images, expected one and its smaller copies; write the first into a file of its own"
    )
    assert time.process_time() - began < 1, "GDAL takes seconds for them"
