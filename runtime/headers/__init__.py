"""What an image file says about itself, read from its bytes before anything is decoded.

One file a format. A reader also finds out whether the file is whole, as far as the format allows: decoders are lenient
(libjpeg returns a partly grey picture for a file that is cut off, with a warning on stderr).
"""

from __future__ import annotations

from dlcv.runtime.errors import TileError, one_line
from dlcv.runtime.headers import bmp, jpeg, jpeg2000, png, tiff, webp
from dlcv.runtime.headers.base import ImageHeader

__all__ = ["ImageHeader", "read_header"]

_FORMATS = (jpeg, png, tiff, webp, bmp, jpeg2000)


def read_header(data: bytes) -> ImageHeader:
    """The header of an encoded image.

    Args:
        data: the whole file.

    Raises:
        TileError: when `data` is empty, is no image of a known format, or is cut off or damaged as far as the format
            shows.
    """
    if not data:
        raise TileError("the file is empty; copy it again")
    for image_format in _FORMATS:
        if image_format.matches(data):
            header: ImageHeader = image_format.read(data)
            return header
    raise TileError(
        f"not an image: expected JPEG, PNG, TIFF, WebP, BMP or JPEG 2000, the file starts with {_start_of(data)}"
    )


def _start_of(data: bytes) -> str:
    return "'" + one_line(data[:16].decode("latin-1")) + "'"
