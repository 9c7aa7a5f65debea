"""The process that decodes: numpy and OpenCV, and whatever a file makes them do. Started by `pool.py`."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from pathlib import Path

from dlcv.runtime.isolate.wire import BYTES, ORDER, READY, REPLY, read_exactly


def serve(pixels: int, scale_16bit: tuple[float, float] | None, max_pixels: int, max_bytes: int) -> None:
    """Decodes what stdin orders, until it ends; answers on stdout.

    Args:
        pixels: descriptor of the file in memory that images go to, uint8 (H, W, 3), RGB.
        scale_16bit, max_pixels, max_bytes: see `DecodeOptions`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the run decides
    from dlcv.runtime.errors import TileError
    from dlcv.runtime.tiles.decode import DecodeOptions, decode_bytes, decode_file, warm_up

    options = DecodeOptions(scale_16bit, max_pixels, max_bytes)
    warm_up()
    threading.Thread(target=_end_with_the_run, daemon=True).start()
    _limit(max_bytes, max_pixels)
    orders, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no reply
    replies.write(READY)
    replies.flush()
    while head := orders.read(ORDER.size):
        what, length = ORDER.unpack(head)
        content = read_exactly(orders, length)
        height, width, words = 0, 0, b""
        try:
            image = (
                decode_bytes(content, options) if what == BYTES else decode_file(Path(os.fsdecode(content)), options)
            )
            _put(pixels, image.data.cast("B"))
            height, width = image.shape[:2]
        except TileError as error:
            words = str(error).encode("utf-8", "backslashreplace")
        except MemoryError:
            words = b"decoding it asks for more memory than an image of the largest size"
        replies.write(REPLY.pack(height, width, time.process_time_ns() // 1000, len(words)) + words)
        replies.flush()


def _end_with_the_run() -> None:
    """Whoever was killed can end nobody, and a tile that hangs keeps this process from its orders, where it would see the end."""
    poll = select.poll()
    poll.register(0, 0)  # nothing but the end of the pipe
    poll.poll()
    os._exit(0)


def _put(pixels: int, content: memoryview) -> None:
    at = 0
    while at < len(content):  # Linux writes 2 GB at most at once
        at += os.pwrite(pixels, content[at:], at)


def _limit(max_bytes: int, max_pixels: int) -> None:
    """No core files, and where the system can, a bound for the memory: the file, and 16 bytes a pixel of the largest image."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (OSError, ValueError):
        return
    most = pages * os.sysconf("SC_PAGE_SIZE") + max_bytes + 16 * max_pixels
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
