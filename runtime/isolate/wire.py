"""What goes over the two pipes of a decoding process. Pixels do not: they are written to a file in memory that both have open."""

from __future__ import annotations

import struct
from typing import BinaryIO

READY = b"\x01"
"""The process says so when it has loaded its libraries."""
PATH, BYTES = 0, 1
"""What an order holds: a path, as the file system has it, or an encoded image."""
ORDER = struct.Struct("<BQ")
"""What it holds, and how many bytes of it follow."""
REPLY = struct.Struct("<IIQI")
"""Height and width in pixels, both 0 for a tile that failed; CPU time of the process so far in microseconds; how many bytes of a
sentence follow, UTF-8, that says why it failed."""
START_S = 120.0
"""How long a process may take to load its libraries."""


def read_exactly(stream: BinaryIO, count: int) -> bytes:
    """`count` bytes.

    Raises:
        EOFError: when the stream ends before.
    """
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data
