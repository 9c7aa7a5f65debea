"""Images of each kind: what a window holds is what a plain tile of the same file would, or the image is refused in words."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dlcv.runtime.errors import TileError
from dlcv.runtime.raster.source import Source
from dlcv.runtime.tiles.decode import DecodeOptions, decode_file

WriteGeo = Callable[..., Path]
SIZE = (32, 40)
GREY = np.random.default_rng(0).integers(0, 256, SIZE, dtype=np.uint8)
RGB = np.random.default_rng(1).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
SMOOTH = cv2.resize(RGB[:4, :5] // 2 + 64, SIZE[::-1], interpolation=cv2.INTER_CUBIC)
"""For JPEG: its decoders differ at sharp edges, in how they scale the colours up."""


def window(path: Path, scale_16bit: tuple[float, float] | None = None) -> NDArray[np.uint8]:
    source = Source(path, SIZE, 0.25, scale_16bit=scale_16bit)
    try:
        return source.window(0, 0)[0]
    finally:
        source.close()


@pytest.mark.parametrize(
    ("image", "profile"),
    [
        pytest.param(RGB, {}, id="RGB"),
        pytest.param(GREY, {}, id="grey"),
        pytest.param(GREY, {"photometric": "MINISWHITE"}, id="white is 0"),
        pytest.param(GREY, {"photometric": "MINISWHITE", "nodata": 0}, id="white is 0, and no data"),
        pytest.param(RGB[..., :2], {"photometric": "MINISWHITE", "alpha": "YES"}, id="white is 0, and alpha"),
        pytest.param(GREY & 1, {"nbits": 1}, id="1 bit"),
        pytest.param(GREY & 1, {"nbits": 1, "photometric": "MINISWHITE"}, id="1 bit, white is 0"),
        pytest.param(GREY, {"photometric": "palette"}, id="palette"),
        pytest.param(GREY & 15, {"photometric": "palette", "nbits": 4}, id="palette of 4 bits"),
        pytest.param(np.dstack([RGB, GREY]), {"photometric": "RGB", "alpha": "YES"}, id="alpha"),
        pytest.param(np.dstack([RGB, GREY]), {"photometric": "CMYK"}, id="CMYK"),
        pytest.param(RGB, {"photometric": "CIELAB"}, id="LAB"),
        pytest.param(GREY * np.uint16(257), {}, id="16 bits, grey"),
        pytest.param(RGB * np.uint16(257), {}, id="16 bits, RGB"),
    ],
)
def test_a_tiff_as_in_plain_tiles(
    tmp_path: Path, write_geo: WriteGeo, image: NDArray[Any], profile: dict[str, Any]
) -> None:
    import rasterio

    path = write_geo(tmp_path / "a.tif", image, **profile)
    if profile.get("photometric") == "palette":
        with rasterio.open(path, "r+") as file:
            file.write_colormap(1, {k: (*RGB.reshape(-1, 3)[k].tolist(), 255) for k in range(int(image.max()) + 1)})
    scale = (1000.0, 60_000.0)
    np.testing.assert_array_equal(window(path, scale), decode_file(path, DecodeOptions(scale_16bit=scale)))


@pytest.mark.parametrize("photometric", ["YCBCR", None])
def test_a_jpeg_in_a_tiff_as_in_plain_tiles(tmp_path: Path, write_geo: WriteGeo, photometric: str | None) -> None:
    profile = {"compress": "jpeg", "jpeg_quality": 95, **({"photometric": photometric} if photometric else {})}
    path = write_geo(tmp_path / "a.tif", SMOOTH, **profile)
    difference = np.abs(window(path).astype(int) - decode_file(path))
    # GDAL and OpenCV each bring a JPEG library; seen are 1.0 and 14, from how they scale the colours up
    assert difference.mean() <= 3
    assert difference.max() <= 24


@pytest.mark.parametrize("bits", [2, 3, 4, 7])
@pytest.mark.parametrize("bands", [1, 3])
def test_few_bits_fill_the_range(tmp_path: Path, write_geo: WriteGeo, bits: int, bands: int) -> None:
    """OpenCV does not read them from a TIFF."""
    values = RGB[..., :bands] >> (8 - bits)
    expected = np.rint(values * (255 / (2**bits - 1)))
    path = write_geo(tmp_path / "a.tif", values, nbits=bits)
    np.testing.assert_array_equal(window(path), np.broadcast_to(expected, (*SIZE, 3)))
    if bands == 1:
        white = write_geo(tmp_path / "white.tif", values, nbits=bits, photometric="MINISWHITE")
        np.testing.assert_array_equal(window(white), np.broadcast_to(255 - expected, (*SIZE, 3)))


@pytest.mark.parametrize(
    ("image", "profile", "words"),
    [
        (GREY.astype(np.uint16), {"nbits": 12}, "^12-bit values, expected 8 or 16 bits; write it with gdal_translate -co NBITS=16$"),
        (GREY.astype(np.uint16), {"photometric": "MINISWHITE"}, r"^white is stored as 0 \(MINISWHITE\) in 1 bands of 16 bits, expected"),
        (RGB, {"photometric": "MINISWHITE"}, r"^white is stored as 0 \(MINISWHITE\) in 3 bands of 8 bits, expected .*; write it with black as 0$"),
    ],
)  # fmt: skip
def test_values_of_two_meanings_are_refused(
    tmp_path: Path, write_geo: WriteGeo, image: NDArray[Any], profile: dict[str, Any], words: str
) -> None:
    with pytest.raises(TileError, match=words):
        window(write_geo(tmp_path / "a.tif", image, **profile), (0, 4095))


def test_a_plain_tile_of_16_bits_is_no_negative_either(tmp_path: Path, write_geo: WriteGeo) -> None:
    """OpenCV leaves white at 0 there."""
    path = write_geo(tmp_path / "a.tif", GREY.astype(np.uint16), photometric="MINISWHITE")
    with pytest.raises(
        TileError, match=r"^white is stored as 0 \(MINISWHITE\) in 16 bits, expected that of up to 8 bits; "
    ):
        decode_file(path, DecodeOptions(scale_16bit=(0, 255)))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def grey_png(bits: int, *more: bytes) -> bytes:
    """`GREY` in so many bits; `more` chunks stand before the pixels."""
    bit_rows = np.unpackbits(GREY[..., None], axis=2)[..., :bits].reshape(SIZE[0], -1)
    rows = b"".join(b"\0" + row.tobytes() for row in np.packbits(bit_rows, axis=1))
    header = struct.pack(">IIBBBBB", SIZE[1], SIZE[0], bits, 0, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), *more, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_png_as_in_plain_tiles(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(grey_png(bits))
    np.testing.assert_array_equal(window(path), decode_file(path))


def turned(path: Path, orientation: int) -> Path:
    from PIL import Image

    image = Image.fromarray(SMOOTH)
    if path.suffix == ".tif":
        image.save(path, tiffinfo={0x0112: orientation})
        return path
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)
    return path


@pytest.mark.parametrize("name", ["a.tif", "a.jpg", "a.png"])
@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
def test_a_turned_image_is_refused(tmp_path: Path, name: str, orientation: int) -> None:
    path = turned(tmp_path / name, orientation)
    assert (decode_file(path).shape[:2] == SIZE) == (orientation < 5), "a plain tile is turned"
    words = rf"^tag Orientation {orientation}: the image is stored turned; write it upright .*, or as it is stored"
    with pytest.raises(TileError, match=words):
        Source(path, SIZE, 0.25)


@pytest.mark.parametrize("name", ["a.tif", "a.jpg", "a.png"])
def test_an_image_that_says_it_is_upright_is_read(tmp_path: Path, name: str) -> None:
    path = turned(tmp_path / name, 1)
    difference = np.abs(window(path).astype(int) - decode_file(path))
    assert difference.max() <= (24 if name == "a.jpg" else 0)  # as of a JPEG in a TIFF


@pytest.mark.parametrize("orientation", [0, 9])
def test_an_orientation_that_there_is_not_turns_nothing(
    tmp_path: Path, orientation: int, capfd: pytest.CaptureFixture[str]
) -> None:
    path = turned(tmp_path / "a.tif", orientation)
    np.testing.assert_array_equal(window(path), decode_file(path))
    capfd.readouterr()  # libtiff's words


@pytest.mark.parametrize("name", ["a.tif", "a.jpg"])
def test_a_turned_image_may_be_written_as_it_is_stored(tmp_path: Path, name: str) -> None:
    """What `gdal_translate` does: EXIF's tags go along as those of GDAL, which turn nothing."""
    import rasterio.shutil

    rasterio.shutil.copy(turned(tmp_path / name, 6), tmp_path / "b.tif", driver="GTiff")
    np.testing.assert_array_equal(window(tmp_path / "b.tif"), decode_file(tmp_path / "b.tif"))


def test_an_orientation_behind_the_pixels_counts(tmp_path: Path) -> None:
    data = turned(tmp_path / "a.png", 6).read_bytes()
    at = data.index(b"eXIf") - 4
    length = 12 + int.from_bytes(data[at : at + 4], "big")
    end = len(data) - 12
    (tmp_path / "a.png").write_bytes(data[:at] + data[at + length : end] + data[at : at + length] + data[end:])
    with pytest.raises(TileError, match=r"^tag Orientation 6: "):
        Source(tmp_path / "a.png", SIZE, 0.25)
