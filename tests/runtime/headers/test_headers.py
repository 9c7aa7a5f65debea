"""Headers against what Pillow says, for each format; what the whole file is checked for stands in test_decode.py."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dlcv.runtime.errors import TileError
from dlcv.runtime.headers import ImageHeader, read_header
from dlcv.runtime.headers.tiff import with_associated_alpha

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (13, 21, 3), dtype=np.uint8))


def encoded(mode: str, image_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    PICTURE.convert(mode).save(buffer, image_format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mode", "image_format", "options", "name", "channels", "bits"),
    [
        ("RGB", "JPEG", {}, "JPEG", 3, 8),
        ("L", "JPEG", {"progressive": True}, "JPEG", 1, 8),
        ("CMYK", "JPEG", {}, "JPEG", 4, 8),
        ("RGB", "PNG", {}, "PNG", 3, 8),
        ("LA", "PNG", {}, "PNG", 2, 8),
        ("P", "PNG", {}, "PNG", 3, 8),
        ("1", "PNG", {}, "PNG", 1, 1),
        ("I;16", "PNG", {}, "PNG", 1, 16),
        ("RGBA", "TIFF", {}, "TIFF", 4, 8),
        ("P", "TIFF", {}, "TIFF", 3, 8),
        ("CMYK", "TIFF", {"compression": "tiff_lzw"}, "TIFF", 4, 8),
        ("RGB", "TIFF", {"big_tiff": True}, "TIFF", 3, 8),
        ("RGB", "WEBP", {"quality": 50}, "WebP", 3, 8),
        ("RGB", "WEBP", {"lossless": True}, "WebP", 3, 8),
        ("RGBA", "WEBP", {"quality": 50}, "WebP", 3, 8),
        ("RGB", "BMP", {}, "BMP", 3, 8),
        ("RGB", "JPEG2000", {}, "JPEG 2000", 3, 8),
        ("RGB", "JPEG2000", {"no_jp2": True}, "JPEG 2000", 3, 8),
    ],
)
def test_header(mode: str, image_format: str, options: dict[str, Any], name: str, channels: int, bits: int) -> None:
    header = read_header(encoded(mode, image_format, **options))
    assert (header.format, header.size_hw, header.channels, header.bits) == (name, (13, 21), channels, bits)
    assert header.kind == "unsigned"


def test_float_and_signed_tiff() -> None:
    assert read_header(encoded("F", "TIFF")).kind == "float"
    assert read_header(encoded("I", "TIFF")) == ImageHeader("TIFF", (13, 21), 1, 32, "signed")


def test_big_endian_tiff() -> None:
    entries = [(256, 3, 21 << 16), (257, 3, 13 << 16), (258, 3, 16 << 16), (339, 3, 2 << 16)]
    body = struct.pack(">H", 4) + b"".join(struct.pack(">HHII", tag, kind, 1, value) for tag, kind, value in entries)
    assert read_header(b"MM\0*" + struct.pack(">I", 8) + body) == ImageHeader("TIFF", (13, 21), 1, 16, "signed")


def test_straight_alpha_is_relabelled_and_nothing_else() -> None:
    data = encoded("RGBA", "TIFF")
    assert read_header(data).straight_alpha
    relabelled = with_associated_alpha(data)
    assert not read_header(relabelled).straight_alpha
    assert sum(a != b for a, b in zip(data, relabelled, strict=True)) == 1


def test_a_png_that_starts_with_another_chunk() -> None:
    data = bytearray(encoded("RGB", "PNG"))
    data[12:16] = b"tEXt"
    with pytest.raises(TileError, match="the PNG file is damaged: it does not start with an IHDR chunk"):
        read_header(bytes(data))


def test_a_jpeg_without_a_frame() -> None:
    with pytest.raises(TileError, match="the JPEG file is damaged: it holds no frame"):
        read_header(b"\xff\xd8\xff\xfe\0\x04hi\xff\xd9")


def test_a_tiff_without_a_size() -> None:
    with pytest.raises(TileError, match="the TIFF file is damaged: its directory holds no image size"):
        read_header(b"II*\0" + struct.pack("<IHI", 8, 0, 0))


def test_the_start_of_a_text_is_shown_on_one_line() -> None:
    with pytest.raises(TileError, match=r"the file starts with '<html>\\n<body>'"):
        read_header(b"<html>\n<body>")
