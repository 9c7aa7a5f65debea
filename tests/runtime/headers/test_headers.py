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


# --- files that say one thing to the reader of headers and another to the decoder -----------------------------------------


def test_of_a_tag_that_stands_there_twice_the_first_counts() -> None:
    """As for libtiff. With the last one, 100,000 x 100,000 behind a small size would pass the limit, or the other way round."""
    entries = [(256, 60_000), (256, 21), (257, 60_000), (257, 13), (258, 8)]
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    assert read_header(b"II*\0" + struct.pack("<I", 8) + body).size_hw == (60_000, 60_000)
    unusable_first = struct.pack("<H", 3) + b"".join(
        struct.pack("<HHII", *entry) for entry in ((256, 9, 1, 60_000), (256, 4, 1, 21), (257, 4, 1, 13))
    )
    with pytest.raises(TileError, match="its directory holds no image size"):
        read_header(b"II*\0" + struct.pack("<I", 8) + unusable_first)


def test_the_header_and_libtiff_take_the_same_of_two_sizes() -> None:
    from dlcv.runtime.tiles.decode import decode_bytes

    data = bytearray(encoded("RGB", "TIFF"))
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    entries = [bytes(data[start + 2 + 12 * k : start + 14 + 12 * k]) for k in range(count)]
    second = struct.pack("<HHII", 256, 4, 1, 7)
    directory = struct.pack("<H", count + 1) + entries[0] + second + b"".join(entries[1:]) + bytes(4)
    spoiled = bytes(data[:4]) + struct.pack("<I", len(data)) + bytes(data[8:]) + directory
    assert entries[0][:2] == struct.pack("<H", 256), "the width stands first"
    assert read_header(spoiled).size_hw == decode_bytes(spoiled).shape[:2] == (13, 21)


def test_counts_as_large_as_the_file_take_no_memory() -> None:
    """4,096 directory entries, each of which lists all of a 4 MB file as strips: minutes and gigabytes as Python's numbers."""
    import time
    import tracemalloc

    size = 4 << 20
    entries = [struct.pack("<HHII", tag, 1, size // 2, 8) for tag in (273, 279, 338, 258)] * 1023
    directory = struct.pack("<H", len(entries) + 2) + b"".join(entries)
    directory += struct.pack("<HHII", 256, 4, 1, 21) + struct.pack("<HHII", 257, 4, 1, 13)
    data = b"II*\0" + struct.pack("<I", size) + bytes(size - 8) + directory
    tracemalloc.start()
    start = time.perf_counter()
    header = read_header(data)
    seconds, (_, peak) = time.perf_counter() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert header.size_hw == (13, 21)
    assert peak < 20 * size, "a few arrays over the strips, in 8 bytes each"
    assert seconds < 10


def test_strips_that_overflow_64_bits_lie_outside() -> None:
    entries = [(256, 4, 21), (257, 4, 13), (273, 16, 2**64 - 8), (279, 16, 16)]
    body = struct.pack("<Q", len(entries)) + b"".join(
        struct.pack("<HHQQ", tag, kind, 1, value) for tag, kind, value in entries
    )
    with pytest.raises(TileError, match="the TIFF file is cut off"):
        read_header(b"II+\0" + struct.pack("<HHQ", 8, 0, 16) + body)


def test_a_jpeg_2000_inside_a_box_of_remarks_is_not_the_image() -> None:
    """A small image in a box before the real one hid its size."""
    small, large = encoded("RGB", "JPEG2000", no_jp2=True), bytearray(encoded("RGB", "JPEG2000"))
    at = large.index(b"\xff\x4f\xff\x51")
    large[at + 8 : at + 16] = struct.pack(">II", 100_000, 100_000)
    box = struct.pack(">I4s", 8 + len(small), b"uuid") + small
    assert read_header(bytes(large[:12]) + box + bytes(large[12:])).size_hw == (100_000, 100_000)


def test_a_jpeg_2000_whose_boxes_do_not_lead_to_a_codestream() -> None:
    data = bytearray(encoded("RGB", "JPEG2000"))
    with pytest.raises(TileError, match="the JPEG 2000 file is cut off"):
        read_header(bytes(data[:12]) + bytes(100))
    at = data.index(b"jp2c") + 4
    data[at : at + 4] = b"none"
    with pytest.raises(TileError, match="its codestream does not begin with an image size"):
        read_header(bytes(data))


def test_a_png_with_two_headers() -> None:
    data = encoded("L", "PNG")
    with pytest.raises(TileError, match="the PNG file is damaged: it holds two IHDR chunks"):
        read_header(data[:33] + data[8:33] + data[33:])
