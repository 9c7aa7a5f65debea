"""The quick JPEG decoder: the pixels of OpenCV or none."""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from dlcv.runtime.errors import TileError
from dlcv.runtime.headers import read_header
from dlcv.runtime.tiles import fast_jpeg
from dlcv.runtime.tiles.decode import decode_bytes

simplejpeg = pytest.importorskip("simplejpeg")
SMOOTH = cv2.resize(np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8), (203, 157))


def jpeg(picture: Image.Image | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (picture or Image.fromarray(SMOOTH)).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def fast(data: bytes) -> Any:
    return fast_jpeg.decoded_rgb(data, read_header(data))


def by_opencv(data: bytes) -> Any:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def exif_of(orientation: int, kind: int = 3) -> bytes:
    value = struct.pack("<H", orientation) if kind == 3 else struct.pack("<I", orientation)
    return b"Exif\0\0II*\0" + struct.pack("<IHHHI", 8, 1, 0x0112, kind, 1) + value.ljust(4, b"\0") + bytes(4)


@pytest.fixture(autouse=True)
def _tried_anew() -> Iterator[None]:
    fast_jpeg.trusted_simplejpeg.cache_clear()
    yield
    fast_jpeg.trusted_simplejpeg.cache_clear()


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize(
    "options", [{}, {"quality": 30}, {"quality": 100}, {"progressive": True}, {"restart_marker_blocks": 3}]
)
def test_the_pixels_are_opencvs(subsampling: int, options: dict[str, Any]) -> None:
    data = jpeg(subsampling=subsampling, **options)
    image = fast(data)
    assert image is not None, "it was not used"
    assert image.flags.c_contiguous
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, by_opencv(data))
    np.testing.assert_array_equal(decode_bytes(data), image)


def test_rgb_inside_a_jpeg() -> None:
    data = jpeg(keep_rgb=True)
    np.testing.assert_array_equal(decode_bytes(data), by_opencv(data))


@pytest.mark.parametrize("picture", ["L", "CMYK"])
def test_other_colours_are_left_to_opencv(picture: str) -> None:
    data = jpeg(Image.fromarray(SMOOTH).convert(picture))
    assert fast(data) is None
    np.testing.assert_array_equal(decode_bytes(data), by_opencv(data))


@pytest.mark.parametrize(
    "exif", [*(exif_of(value) for value in range(10)), exif_of(6, kind=4), b"Exif\0\0II*\0", b"Exif\0\0nonsense"]
)
def test_what_exif_may_turn_is_left_to_opencv(exif: bytes) -> None:
    data = jpeg(exif=exif)
    upright = exif == exif_of(1)
    assert (fast(data) is not None) is upright
    np.testing.assert_array_equal(decode_bytes(data), by_opencv(data))


def test_two_exif_blocks_that_disagree_are_left_to_opencv() -> None:
    data = jpeg()
    blocks = [b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block for block in (exif_of(6), exif_of(1))]
    for first, second in (blocks, blocks[::-1]):
        both = data[:2] + first + second + data[2:]
        assert fast(both) is None
        np.testing.assert_array_equal(decode_bytes(both), by_opencv(both))


def test_damage_gives_what_opencv_gives() -> None:
    rng, whole, used = np.random.default_rng(0), np.frombuffer(jpeg(), np.uint8), 0
    for _ in range(150):
        data = whole.copy()
        data[rng.integers(2, len(data), 2)] = rng.integers(0, 256, 2)
        try:
            image = fast(data.tobytes())
        except TileError:
            continue
        if image is not None:
            used += 1
            np.testing.assert_array_equal(image, by_opencv(data.tobytes()))
    assert used > 10, "too few went through to tell"


def test_other_pixels_are_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fast_jpeg.agrees_with_opencv(simplejpeg)
    rough = SimpleNamespace(
        decode_jpeg=lambda data, space, **rest: simplejpeg.decode_jpeg(data, space, fastupsample=True)
    )
    assert not fast_jpeg.agrees_with_opencv(rough)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "simplejpeg", rough)  # type: ignore[arg-type]
    assert fast_jpeg.trusted_simplejpeg() is None
    assert fast(jpeg()) is None


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    assert fast(jpeg()) is None
    np.testing.assert_array_equal(decode_bytes(jpeg()), by_opencv(jpeg()))
