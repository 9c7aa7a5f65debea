"""Deflate, quickly: by `isal` where it is installed."""

from __future__ import annotations

import zlib
from functools import cache
from types import ModuleType


def deflated(data: memoryview, level: int = 1) -> bytes:
    """A zlib stream (RFC 1950); its bytes depend on whether `isal` is installed.

    Args:
        data: contiguous.
        level: 0 or 1, the fastest, for which zlib's run-length strategy is taken where `isal` is missing; to 9, always zlib's.
    """
    isal_zlib = _isal_zlib()
    if isal_zlib is not None and level <= 1:
        fast: bytes = isal_zlib.compress(data, level)
        return fast
    compressor = zlib.compressobj(level, zlib.DEFLATED, 15, 8, zlib.Z_RLE if level <= 1 else zlib.Z_DEFAULT_STRATEGY)
    return compressor.compress(data) + compressor.flush()


@cache
def _isal_zlib() -> ModuleType | None:
    try:
        from isal import isal_zlib
    except ImportError:
        return None
    module: ModuleType = isal_zlib
    return module
