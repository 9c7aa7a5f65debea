"""Palette PNGs: indices survive, colours show, other programs agree."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dlcv.runtime import deflate
from dlcv.runtime.errors import OutputError, TileError
from dlcv.runtime.masks import encode_mask, read_mask, write_mask

PALETTE = [(i, 255 - i, i * 7 % 256) for i in range(256)]
EVERY = np.arange(256, dtype=np.uint8).reshape(16, 16)


@pytest.fixture(params=["zlib", "isal"], autouse=True)
def compressor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both compressors, the second where it is installed."""
    deflate._isal_zlib.cache_clear()
    if request.param == "isal":
        pytest.importorskip("isal", reason="isal is not installed")
    else:
        monkeypatch.setitem(sys.modules, "isal", None)
    yield
    deflate._isal_zlib.cache_clear()


@pytest.mark.parametrize("level", [1, 6])
def test_all_256_values_come_back(tmp_path: Path, level: int) -> None:
    write_mask(tmp_path / "m.png", EVERY, PALETTE, level=level)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), EVERY)


def test_opencv_sees_the_palettes_colours() -> None:
    np.testing.assert_array_equal(colours(encode_mask(EVERY, PALETTE)), np.array(PALETTE, np.uint8)[EVERY])


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1), (33, 65)])
def test_any_size_also_where_rows_are_not_contiguous(shape: tuple[int, int]) -> None:
    wide = np.random.default_rng(0).integers(0, 7, (shape[0], shape[1] * 2), dtype=np.uint8)
    mask = wide[:, ::2]
    np.testing.assert_array_equal(indices(encode_mask(mask, PALETTE[:7])), mask)


def test_values_behind_the_palette_are_legal_and_black() -> None:
    mask = np.array([[0, 1, 200]], np.uint8)
    data = encode_mask(mask, [(255, 0, 0), (0, 255, 0)])
    np.testing.assert_array_equal(indices(data), mask)
    assert int.from_bytes(data[33:37], "big") == 3 * 201
    assert data[37:41] == b"PLTE"
    assert colours(data)[0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 0]]


def test_the_palette_is_stored_whole() -> None:
    with Image.open(io.BytesIO(encode_mask(np.zeros((2, 2), np.uint8), PALETTE[:7]))) as image:
        assert image.mode == "P"
        assert (image.getpalette() or [])[:21] == [value for colour in PALETTE[:7] for value in colour]


def test_a_blobby_mask_is_small() -> None:
    rows, columns = np.mgrid[:256, :256]
    mask = ((rows - 90) ** 2 + (columns - 120) ** 2 < 4000).astype(np.uint8) + (columns > 200)
    assert len(encode_mask(mask.astype(np.uint8), PALETTE[:3])) < 3000  # 256 x 256 = 65,536 pixels


@pytest.mark.parametrize(
    "mask", [np.zeros((2, 2), np.int64), np.zeros((2, 2, 3), np.uint8), np.zeros((0, 2), np.uint8)]
)
def test_what_is_no_mask(mask: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"expected a mask uint8 \(H, W\), got"):
        encode_mask(mask, PALETTE)


def test_too_many_colours() -> None:
    with pytest.raises(ValueError, match="at most 256 colours, got 257"):
        encode_mask(EVERY, [*PALETTE, (0, 0, 0)])


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        write_mask(tmp_path / "none" / "m.png", EVERY, PALETTE)


def test_grey_pngs_are_indices_too(tmp_path: Path) -> None:
    Image.fromarray(EVERY).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "grey.png"), EVERY)


def test_palettes_of_fewer_bits(tmp_path: Path) -> None:
    image = Image.fromarray(EVERY % 4).convert("P")
    image.putpalette([0, 0, 0, 9, 9, 9, 20, 20, 20, 30, 30, 30])
    image.putdata((EVERY % 4).ravel().tolist())
    image.save(tmp_path / "two.png", bits=2)
    np.testing.assert_array_equal(read_mask(tmp_path / "two.png"), EVERY % 4)


def test_what_read_mask_refuses(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "rgb.png")
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "m.jpg")
    (tmp_path / "cut.png").write_bytes(encode_mask(EVERY, PALETTE)[:-40])
    expected = {
        "rgb.png": "expected class indices: a palette or grey PNG of 8 bits, this one holds RGB",
        "m.jpg": "expected class indices: a palette or grey PNG of 8 bits, this is no PNG",
        "cut.png": "the PNG file is cut off: it ends before the image does; copy it again",
        "none.png": "there is no such file",
    }
    for name, message in expected.items():
        with pytest.raises(TileError) as caught:
            read_mask(tmp_path / name)
        assert str(caught.value) == message


def colours(data: bytes) -> NDArray[np.uint8]:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(picture, np.uint8)[..., ::-1]


def indices(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image)


def test_a_second_header_and_a_giant_are_refused(tmp_path: Path) -> None:
    """Pillow takes the size of the last header that it meets, and has an error of its own for what is too large."""
    data = encode_mask(np.zeros((4, 5), np.uint8), [(0, 0, 0)])
    head = b"IHDR" + struct.pack(">II", 100_000, 100_000) + data[24:29]
    giant = data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]
    (tmp_path / "a.png").write_bytes(giant)
    with pytest.raises(TileError, match=r"the PNG file is damaged: Image size \(10000000000 pixels\) exceeds limit"):
        read_mask(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(data[:33] + giant[8:33] + data[33:])
    with pytest.raises(TileError, match="the PNG file is damaged: it holds two IHDR chunks"):
        read_mask(tmp_path / "a.png")
