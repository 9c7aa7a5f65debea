"""File -> uint8 (H, W, 3) RGB, within limits: one bad tile is a sentence, never a crash.

Headers are read first (`headers/`): what is too large, too deep or cut off is refused before anything is decoded.
A changed byte inside a JPEG's or a TIFF's pixel data cannot be told: these formats carry no checksum.
Messages do not repeat the path: a manifest row has it beside the reason, other callers put it in front.

`decode_file` may be called from several threads at a time: OpenCV lets other threads run while it decodes.
"""

from __future__ import annotations

import math
import os
import stat
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.errors import TileError, UsageError
from dlcv.runtime.headers import ImageHeader, read_header
from dlcv.runtime.headers.exif import UPRIGHT
from dlcv.runtime.headers.tiff import with_associated_alpha
from dlcv.runtime.tiles import fast_jpeg


@dataclass(frozen=True)
class DecodeOptions:
    """What is accepted, and how it becomes 8 bits.

    Attributes:
        scale_16bit: MIN and MAX: the 16-bit values that become 0 and 255, linearly, clipped, halves rounded up;
            8-bit images are not touched by it. None: 16-bit images are refused.
        max_pixels: height times width of the largest image that is decoded. The default is where Pillow, too, refuses:
            about 13,377 x 13,377 pixels, 537 MB as RGB.
        max_bytes: of the largest file that is read.

    Raises:
        UsageError: when MIN is not below MAX.
    """

    scale_16bit: tuple[float, float] | None = None
    max_pixels: int = 178_956_970
    max_bytes: int = 1 << 30

    def __post_init__(self) -> None:
        if self.scale_16bit is not None:
            low, high = self.scale_16bit
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise UsageError(f"--scale-16bit expects two finite numbers, MIN below MAX, got {low:g},{high:g}")


class Decoder:
    """Decodes with the same options each time, in this process and its threads; `isolate/pool.py` has one that does not.

    Args:
        options: None for the defaults.
    """

    def __init__(self, options: DecodeOptions | None = None) -> None:
        self._options = options or DecodeOptions()

    def decode_file(self, path: Path) -> NDArray[np.uint8]:
        """See the function of that name."""
        return decode_file(path, self._options)

    def decode_bytes(self, data: bytes) -> NDArray[np.uint8]:
        """See the function of that name."""
        return decode_bytes(data, self._options)


def decode_file(path: Path, options: DecodeOptions | None = None) -> NDArray[np.uint8]:
    """Reads and decodes one file; see `decode_bytes`.

    Raises:
        TileError: when the file cannot be read, is not a regular file, is larger than `options.max_bytes`, or as
            `decode_bytes` says.
    """
    options = options or DecodeOptions()
    return decode_bytes(read_file(path, options.max_bytes), options)


def decode_bytes(data: bytes, options: DecodeOptions | None = None) -> NDArray[np.uint8]:
    """Decodes one image.

    Grey is replicated, alpha is dropped (the colours stay as stored), CMYK is converted, a palette is expanded, the
    EXIF orientation is applied; of several images in a file, the first is taken.

    Args:
        data: the whole file: JPEG, PNG, TIFF, WebP, BMP or JPEG 2000.
        options: limits and the treatment of 16 bits; None for the defaults.

    Returns:
        uint8 (H, W, 3), RGB, 0..255, C-contiguous.

    Raises:
        TileError: when `data` is empty, no image, cut off or damaged, larger than `options.max_pixels`, has more than 4
            channels, or has values that are not 8 bits (16 bits are accepted with `options.scale_16bit`).
    """
    options = options or DecodeOptions()
    header = read_header(data)
    _check(header, options)
    if header.bits > 8:
        assert options.scale_16bit is not None, "_check lets 16 bits pass only with a scale"
        return _scaled_rgb(_decoded_16bit(data, header), options.scale_16bit)
    return _decoded_rgb(with_associated_alpha(data) if header.straight_alpha else data, header)


def read_file(path: Path, max_bytes: int = 1 << 30) -> bytes:
    """The bytes of a regular file; a pipe or a device is refused without waiting for it.

    Raises:
        TileError: when it cannot be read, is no regular file, or is larger than `max_bytes`.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            size = _checked_size(os.fstat(file.fileno()), max_bytes)
            return file.read(size)  # asked for more, Python would allocate it first
    except FileNotFoundError:
        raise TileError("there is no such file") from None
    except IsADirectoryError:
        raise TileError("it is a folder, expected an image file") from None
    except (OSError, ValueError) as error:
        raise TileError(f"the file cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # opening a pipe would wait for its other end


def _checked_size(status: os.stat_result, max_bytes: int) -> int:
    if not stat.S_ISREG(status.st_mode):
        raise TileError("it is a pipe, a socket or a device, expected an image file")
    if status.st_size > max_bytes:
        raise TileError(f"the file has {status.st_size} bytes, more than the limit of {max_bytes}; cut it into tiles")
    return status.st_size


def warm_up() -> None:
    """Loads what decoding needs, which the first image would wait for otherwise."""
    _quiet_cv2()
    fast_jpeg.trusted_simplejpeg()


def _check(header: ImageHeader, options: DecodeOptions) -> None:
    height, width = header.size_hw
    if height < 1 or width < 1:
        raise TileError(f"the {header.format} file says that its image has {height} x {width} pixels; it is damaged")
    if height * width > options.max_pixels:
        raise TileError(
            f"{height} x {width} is {height * width} pixels, the limit is {options.max_pixels}; cut it into tiles"
        )
    if header.channels not in (1, 2, 3, 4):
        raise TileError(
            f"{header.channels} channels, expected 1 (grey), 3 (RGB) or 4 (with alpha); write three of them to a file"
        )
    _check_values(header, options)


def _check_values(header: ImageHeader, options: DecodeOptions) -> None:
    if header.kind == "unsigned" and header.bits <= 8:
        return
    what = f"{header.bits}-bit values" if header.kind == "unsigned" else f"{header.bits}-bit {header.kind} values"
    if header.kind != "unsigned" or header.bits > 16 or header.format == "JPEG":
        raise TileError(f"{what}, expected 8-bit unsigned; convert the image to 8 bits a channel")
    if options.scale_16bit is None:
        raise TileError(
            f"{what}, expected 8-bit; convert it, or give dlcv-infer --scale-16bit MIN,MAX: the values that become 0 and 255"
        )


def _decoded_rgb(data: bytes, header: ImageHeader) -> NDArray[np.uint8]:
    if (fast := fast_jpeg.decoded_rgb(data, header)) is not None:
        return fast
    cv2 = _quiet_cv2()
    if header.format == "WebP" and header.orientation > UPRIGHT:  # OpenCV 4 does not look at a WebP's EXIF, 5 does
        image = _imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION, header)
        return np.ascontiguousarray(_oriented(image[..., ::-1], header.orientation))
    if hasattr(cv2, "IMREAD_COLOR_RGB"):  # OpenCV 4.11 and newer: no second pass over the pixels
        return _imdecode(data, cv2.IMREAD_COLOR_RGB, header)
    image = _imdecode(data, cv2.IMREAD_COLOR, header)
    image_rgb: NDArray[np.uint8] = cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    return image_rgb


def _oriented(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) as stored -> a view as EXIF wants it shown: 5 to 8 change rows for columns, the others mirror."""
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return image[rows, columns]


def _decoded_16bit(data: bytes, header: ImageHeader) -> NDArray[np.uint16]:
    cv2 = _quiet_cv2()
    image = _imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH, header)
    if image.dtype != np.uint16:
        raise TileError(f"OpenCV {cv2.__version__} reads this {header.format} as {image.dtype}; convert it to 8 bits")
    return image


def _imdecode(data: bytes, flags: int, header: ImageHeader) -> NDArray[Any]:
    cv2 = _quiet_cv2()
    try:
        image: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise TileError(
            f"the {header.format} file is damaged, or of a kind that OpenCV {cv2.__version__} does not read; "
            "copy it again from its source, or convert it to an 8-bit JPEG or PNG"
        )
    return image


def _scaled_rgb(image_bgr: NDArray[np.uint16], scale: tuple[float, float]) -> NDArray[np.uint8]:
    """uint16 (H, W, 3) BGR -> uint8 (H, W, 3) RGB, C-contiguous."""
    return np.ascontiguousarray(table_16bit(scale)[image_bgr[..., ::-1]])


def table_16bit(scale: tuple[float, float], first: int = 0) -> NDArray[np.uint8]:
    """uint8 (65536,): what the values from `first` on become; see `DecodeOptions.scale_16bit`."""
    low, high = scale
    levels = (np.arange(first, first + 65536, dtype=np.float64) - low) * (255.0 / (high - low))
    return np.floor(np.clip(levels, 0.0, 255.0) + 0.5).astype(np.uint8)


@cache
def _quiet_cv2() -> ModuleType:
    """OpenCV, silenced unless OPENCV_LOG_LEVEL asks for its words: a bad tile is told once, in the manifest.

    What the codecs inside it print themselves (libjpeg's "Corrupt JPEG data") cannot be silenced from here.
    """
    import cv2

    if "OPENCV_LOG_LEVEL" not in os.environ:
        # OpenCV 4 has the function at the top, OpenCV 5 in a submodule; 0 is silent in both
        logging = cv2 if hasattr(cv2, "setLogLevel") else getattr(getattr(cv2, "utils", None), "logging", None)
        if logging is not None:
            logging.setLogLevel(0)
    return cv2
