"""JPEG through `simplejpeg` (extra `fast`), where its pixels are those of OpenCV: both hold a libjpeg-turbo of their own.

Whether they agree is tried once a process, on images made for it. What simplejpeg does not take as OpenCV does, OpenCV
decodes: grey, CMYK, a turned image, and a file in which libjpeg-turbo finds anything amiss.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.headers import ImageHeader
from dlcv.runtime.headers.exif import UPRIGHT


def decoded_rgb(data: bytes, header: ImageHeader) -> NDArray[np.uint8] | None:
    """uint8 (H, W, 3), RGB, C-contiguous; None where OpenCV has to do it."""
    if header.format != "JPEG" or header.channels != 3 or header.orientation != UPRIGHT:
        return None
    simplejpeg = trusted_simplejpeg()
    if simplejpeg is None:
        return None
    try:
        image: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB", strict=True)
    except ValueError:
        return None
    return image if image.shape[:2] == header.size_hw else None


@cache
def trusted_simplejpeg() -> ModuleType | None:
    """simplejpeg, where it is installed and its pixels are OpenCV's here."""
    try:
        import simplejpeg
    except ImportError:
        return None
    module: ModuleType = simplejpeg
    return module if agrees_with_opencv(module) else None


def agrees_with_opencv(simplejpeg: ModuleType) -> bool:
    """Whether both give the same pixels for noise of odd sides, in each sampling of the colours, baseline and progressive."""
    import cv2

    noise = np.random.default_rng(0).integers(0, 256, (41, 67, 3), dtype=np.uint8)
    for sampling in (0x411111, 0x211111, 0x221111, 0x111111):
        for progressive in (0, 1):
            options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive]
            data = cv2.imencode(".jpg", noise, options)[1]
            expected = cv2.imdecode(data, cv2.IMREAD_COLOR)
            if expected is None or not np.array_equal(simplejpeg.decode_jpeg(data.tobytes(), "BGR"), expected):
                return False
    return True
