"""The header of an image, whatever its format, and the errors that all formats share."""

from __future__ import annotations

from dataclasses import dataclass

from dlcv.runtime.errors import TileError


@dataclass(frozen=True)
class ImageHeader:
    """What an encoded image holds.

    Attributes:
        format: such as `JPEG`.
        size_hw: height and width in pixels as stored, before an EXIF orientation is applied.
        channels: as stored; a palette counts as its 3 colours.
        bits: of one channel's values.
        kind: of these values: `unsigned`, `signed`, `float` or `complex`.
        orientation: that EXIF asks for, 1 (upright) to 8, 0 where that is unclear; read for JPEG and WebP only.
        straight_alpha: True where the decoder would multiply the colours by an alpha channel (see `tiff.py`).
    """

    format: str
    size_hw: tuple[int, int]
    channels: int
    bits: int
    kind: str = "unsigned"
    straight_alpha: bool = False
    orientation: int = 1


def cut_off(image_format: str) -> TileError:
    """The error for a file that ends too early."""
    return TileError(f"the {image_format} file is cut off: it ends before the image does; copy it again")


def damaged(image_format: str, what: str) -> TileError:
    """The error for a file whose content contradicts itself; `what` says how."""
    return TileError(f"the {image_format} file is damaged: {what}; copy it again")
