"""Decoding: what is accepted, pixel by pixel against Pillow, and one sentence for everything else."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from dlcv.runtime.errors import TileError, UsageError
from dlcv.runtime.tiles.decode import DecodeOptions, decode_bytes, decode_file

IMAGE: NDArray[np.uint8] = np.asarray(
    cv2.resize(np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8), (40, 24)), np.uint8
)
ALPHA = np.random.default_rng(1).integers(0, 255, (24, 40), dtype=np.uint8)
GREY = np.repeat(IMAGE[..., :1], 3, axis=2)
WORDS = np.random.default_rng(2).integers(0, 65536, (24, 40, 3), dtype=np.uint16)


def encoded(image: Image.Image, image_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def with_alpha(image: NDArray[np.uint8]) -> Image.Image:
    picture = Image.fromarray(image)
    picture.putalpha(Image.fromarray(ALPHA))
    return picture


def jpeg(**options: Any) -> bytes:
    return encoded(Image.fromarray(IMAGE), "JPEG", **options)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")


def refusal(data: bytes, options: DecodeOptions | None = None) -> str:
    with pytest.raises(TileError) as caught:
        decode_bytes(data, options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "BMP", "WEBP", "JPEG2000"])
def test_colours_are_rgb(image_format: str) -> None:
    lossless = {"WEBP": {"lossless": True}}.get(image_format, {})
    image = decode_bytes(encoded(Image.fromarray(IMAGE), image_format, **lossless))
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, IMAGE)


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_dropped_and_the_colours_stay(image_format: str) -> None:
    lossless = {"WEBP": {"lossless": True, "exact": True}}.get(image_format, {})
    np.testing.assert_array_equal(decode_bytes(encoded(with_alpha(IMAGE), image_format, **lossless)), IMAGE)


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_grey_is_replicated(image_format: str) -> None:
    np.testing.assert_array_equal(decode_bytes(encoded(Image.fromarray(IMAGE[..., 0]), image_format)), GREY)
    np.testing.assert_array_equal(decode_bytes(encoded(with_alpha(IMAGE[..., 0]), image_format)), GREY)


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_palette_and_bits_are_expanded(image_format: str) -> None:
    for mode in ("P", "1"):
        picture = Image.fromarray(IMAGE).convert(mode)
        np.testing.assert_array_equal(
            decode_bytes(encoded(picture, image_format)), np.asarray(picture.convert("RGB")), err_msg=mode
        )


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 40}, {"restart_marker_blocks": 2}])
def test_jpeg_is_as_pillow_reads_it(options: dict[str, Any]) -> None:
    data = jpeg(**options)
    # two builds of libjpeg-turbo may differ in the SIMD path of the colour conversion: one or two levels
    assert np.abs(decode_bytes(data).astype(int) - np.asarray(Image.open(io.BytesIO(data)))).max() <= 2


def test_grey_jpeg_is_replicated() -> None:
    image = decode_bytes(encoded(Image.fromarray(IMAGE[..., 0]), "JPEG"))
    assert (image == image[..., :1]).all()
    assert image.shape == IMAGE.shape


def test_cmyk_jpeg_is_converted() -> None:
    data = encoded(Image.fromarray(IMAGE).convert("CMYK"), "JPEG", quality=95)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    # OpenCV and Pillow round the product of ink and black differently: one level, and two from the decoder
    assert np.abs(decode_bytes(data).astype(int) - expected).max() <= 3


def turned(picture: Image.Image, image_format: str, orientation: int) -> bytes:
    if image_format == "TIFF":
        return encoded(picture, "TIFF", tiffinfo={0x0112: orientation})
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(picture, image_format, exif=exif, **({"lossless": True} if image_format == "WEBP" else {}))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(image_format: str, orientation: int) -> None:
    data = turned(Image.fromarray(IMAGE), image_format, orientation)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    image = decode_bytes(data)
    assert image.shape == expected.shape == ((40, 24, 3) if orientation > 4 else (24, 40, 3))
    assert image.flags.c_contiguous
    # two builds of libjpeg-turbo may differ by one or two levels; the others are lossless
    assert np.abs(image.astype(int) - expected).max() <= (2 if image_format == "JPEG" else 0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_exif_orientation_is_applied_to_16_bits(image_format: str, orientation: int) -> None:
    data = turned(Image.fromarray(WORDS[..., 0]), image_format, orientation)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))).astype(int)
    image = decode_bytes(data, DecodeOptions(scale_16bit=(0, 65535)))
    np.testing.assert_array_equal(image[..., 0], (expected + 128) // 257)


@pytest.mark.parametrize("extension", [".png", ".tiff"])
def test_16_bits_are_scaled_when_asked(extension: str) -> None:
    data = cv2.imencode(extension, WORDS[..., ::-1])[1].tobytes()
    low, high = 1000.0, 40000.0
    expected = np.floor(np.clip((WORDS - low) * 255 / (high - low), 0, 255) + 0.5).astype(np.uint8)
    image = decode_bytes(data, DecodeOptions(scale_16bit=(low, high)))
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("extension", [".png", ".tiff"])
def test_16_bit_grey_and_alpha(extension: str) -> None:
    options = DecodeOptions(scale_16bit=(0, 65535))
    grey = decode_bytes(cv2.imencode(extension, WORDS[..., 0])[1].tobytes(), options)
    np.testing.assert_array_equal(grey, np.repeat(((WORDS[..., :1].astype(int) + 128) // 257), 3, axis=2))
    four = cv2.imencode(extension, np.dstack([WORDS[..., ::-1], WORDS[..., :1]]))[1].tobytes()
    np.testing.assert_array_equal(decode_bytes(four, options), (WORDS.astype(int) + 128) // 257)


def test_a_half_is_rounded_up() -> None:
    data = cv2.imencode(".png", np.array([[0, 1, 2, 3]], np.uint16))[1].tobytes()
    scaled = decode_bytes(data, DecodeOptions(scale_16bit=(0, 510)))
    assert scaled[0, :, 0].tolist() == [0, 1, 1, 2]


def test_16_bits_are_refused_otherwise() -> None:
    assert refusal(cv2.imencode(".png", WORDS)[1].tobytes()) == (
        "16-bit values, expected 8-bit; convert it, or give dlcv-infer --scale-16bit MIN,MAX: the values that become 0 and 255"
    )


def test_8_bits_ignore_the_scale() -> None:
    data = encoded(Image.fromarray(IMAGE), "PNG")
    np.testing.assert_array_equal(decode_bytes(data, DecodeOptions(scale_16bit=(0, 100))), IMAGE)


@pytest.mark.parametrize("scale", [(5.0, 5.0), (9.0, 1.0), (0.0, float("nan")), (0.0, float("inf"))])
def test_a_scale_goes_up(scale: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="--scale-16bit expects two finite numbers, MIN below MAX, got"):
        DecodeOptions(scale_16bit=scale)


def test_float_signed_and_32_bit_tiff_are_refused() -> None:
    floats = encoded(Image.fromarray(IMAGE[..., 0].astype(np.float32)), "TIFF")
    assert refusal(floats) == "32-bit float values, expected 8-bit unsigned; convert the image to 8 bits a channel"
    whole = encoded(Image.fromarray(IMAGE[..., 0].astype(np.int32)), "TIFF")
    assert refusal(whole, DecodeOptions(scale_16bit=(0, 9))).startswith("32-bit signed values, expected 8-bit unsigned")


def test_five_channels_are_refused() -> None:
    assert refusal(tiff_of(5)) == (
        "5 channels, expected 1 (grey), 3 (RGB) or 4 (with alpha); write three of them to a file"
    )


def tiff_of(channels: int) -> bytes:
    tags = [(256, 3, 2), (257, 3, 1), (258, 3, 8), (262, 3, 2), (273, 4, 122), (277, 3, channels)]
    tags.append((279, 4, 2 * channels))  # bytes of the only strip
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return (b"II*\0" + struct.pack("<I", 8) + directory).ljust(122, b"\0") + bytes(2 * channels)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_jpeg_cut_anywhere_is_refused(options: dict[str, Any]) -> None:
    data = jpeg(**options)
    for end in range(3, len(data)):
        assert "cut off" in refusal(data[:end]), end


def test_a_thumbnail_does_not_end_a_jpeg() -> None:
    thumbnail = jpeg()
    data = jpeg()
    segment = b"Exif\0\0" + thumbnail
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]
    assert decode_bytes(data).shape == IMAGE.shape
    assert "the JPEG file is cut off" in refusal(data[:-2])
    assert "the JPEG file is cut off" in refusal(data[: len(segment)])


def test_what_follows_the_end_of_a_jpeg_does_not_matter() -> None:
    np.testing.assert_array_equal(decode_bytes(jpeg() + b"\0" * 9), decode_bytes(jpeg()))


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "BMP", "WEBP", "JPEG2000"])
def test_a_file_cut_anywhere_is_refused(image_format: str) -> None:
    data = encoded(Image.fromarray(IMAGE), image_format)
    for end in {20, 30, 60, len(data) // 2, len(data) - 100, len(data) - 1}:
        assert "cut off" in refusal(data[:end]) or "damaged" in refusal(data[:end]), end


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_a_compressed_tiff_cut_anywhere_is_refused(compression: str) -> None:
    data = encoded(Image.fromarray(IMAGE), "TIFF", compression=compression)
    for end in range(4, len(data), 29):
        assert "the TIFF file is cut off" in refusal(data[:end]), end


def test_a_flipped_bit_in_a_png_is_found() -> None:
    data = bytearray(encoded(Image.fromarray(IMAGE), "PNG"))
    data[len(data) // 2] ^= 4
    assert refusal(bytes(data)) == "the PNG file is damaged: a checksum does not fit; copy it again"


def test_a_png_with_missing_rows_is_refused() -> None:
    message = refusal(png(40, 24, zlib.compress(b"\0" * 121 * 12)))
    assert message.startswith(f"the PNG file is damaged, or of a kind that OpenCV {cv2.__version__} does not read")


@pytest.mark.parametrize(
    "data",
    [
        png(100_000, 100_000, b""),
        b"\xff\xd8\xff\xc0\0\x11\x08" + struct.pack(">HH", 65500, 65500) + b"\3" + bytes(9) + b"\xff\xd9",
        b"BM" + bytes(12) + struct.pack("<Iii", 40, 100_000, -100_000) + bytes(28),
    ],
    ids=["png", "jpeg", "bmp"],
)
def test_a_giant_costs_nothing(data: bytes) -> None:
    message = refusal(data)
    assert message.endswith("pixels, the limit is 178956970; cut it into tiles")
    assert message.startswith(("100000 x 100000 is 10000000000", "65500 x 65500 is 4290250000"))


def test_the_limit_is_in_pixels() -> None:
    data = encoded(Image.fromarray(IMAGE), "PNG")
    assert decode_bytes(data, DecodeOptions(max_pixels=960)).shape == IMAGE.shape
    assert refusal(data, DecodeOptions(max_pixels=959)) == "24 x 40 is 960 pixels, the limit is 959; cut it into tiles"


@pytest.mark.parametrize(
    "data", [b"<html>\n<body>not here</body></html>", b"BMW is a car" * 9, b"GIF89a" + bytes(90), b"\0"]
)
def test_what_is_no_image(data: bytes) -> None:
    message = refusal(data)
    assert message.startswith("not an image: expected JPEG, PNG, TIFF, WebP, BMP or JPEG 2000, the file starts with '")


def test_an_empty_file() -> None:
    assert refusal(b"") == "the file is empty; copy it again"


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF", "BMP", "WEBP", "JPEG2000"])
def test_random_damage_never_raises_anything_else(image_format: str) -> None:
    rng = np.random.default_rng(3)
    whole = np.frombuffer(encoded(Image.fromarray(IMAGE), image_format), np.uint8)
    for _ in range(60):
        data = whole.copy()
        # mostly at the front, where the header is
        places = (rng.random(3) ** 3 * len(data)).astype(int)
        data[places] = rng.integers(0, 256, 3)
        try:
            image = decode_bytes(data.tobytes(), DecodeOptions(max_pixels=1 << 20))
        except TileError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:
            assert image.dtype == np.uint8
            assert image.ndim == 3
            assert image.shape[2] == 3


class TestFile:
    def test_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(encoded(Image.fromarray(IMAGE), "PNG"))
        np.testing.assert_array_equal(decode_file(tmp_path / "a.png", DecodeOptions()), IMAGE)

    def test_missing(self, tmp_path: Path) -> None:
        self.refused(tmp_path / "none.jpg", "there is no such file")

    def test_a_folder(self, tmp_path: Path) -> None:
        self.refused(tmp_path, "it is a folder, expected an image file")

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.jpg")
        self.refused(tmp_path / "pipe.jpg", "it is a pipe, a socket or a device, expected an image file")

    @pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="this system has no /dev/zero")
    def test_a_device(self) -> None:
        self.refused(Path("/dev/zero"), "it is a pipe, a socket or a device, expected an image file")

    def test_permission_denied(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def denied(path: str, flags: int) -> int:  # injected: tests may run as root, whom no file refuses
            raise PermissionError(13, "Permission denied", path)

        (tmp_path / "a.png").write_bytes(b"x")
        monkeypatch.setattr("dlcv.runtime.tiles.decode._open_at_once", denied)
        self.refused(tmp_path / "a.png", "the file cannot be read: Permission denied")

    def test_a_name_that_no_file_can_have(self) -> None:
        self.refused(Path("a\0b.jpg"), "the file cannot be read: embedded null byte")

    def test_larger_than_the_limit(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(bytes(11))
        message = "the file has 11 bytes, more than the limit of 10; cut it into tiles"
        self.refused(tmp_path / "a.png", message, DecodeOptions(max_bytes=10))

    def test_a_small_file_takes_little_memory(self, tmp_path: Path) -> None:
        """Python allocates what it is asked to read, whatever the file holds: the limit itself, 1 GiB, for every tile."""
        (tmp_path / "a.png").write_bytes(encoded(Image.fromarray(IMAGE), "PNG"))
        decode_file(tmp_path / "a.png")
        tracemalloc.start()
        decode_file(tmp_path / "a.png")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1 << 20

    def refused(self, path: Path, message: str, options: DecodeOptions | None = None) -> None:
        with pytest.raises(TileError) as caught:
            decode_file(path, options)
        assert str(caught.value) == message


def test_bad_files_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    whole = jpeg()
    for data in (whole, *(encoded(Image.fromarray(IMAGE), name) for name in ("PNG", "TIFF"))):
        refusal(data[:-20])
    assert capfd.readouterr() == ("", "")
