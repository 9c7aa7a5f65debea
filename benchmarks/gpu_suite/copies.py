"""pycuda through dlcv's own streams and buffers: copies from pinned and from pageable memory, one way and both ways at once, in GB/s."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np

from dlcv.benchmarks.gpu_suite.part import median_s, require_gpu, run_part, say
from dlcv.runtime.errors import EngineError
from dlcv.runtime.sessions import cuda

SIZE = 64 << 20
"""Bytes of a copy: some 85 tiles of 512 x 512."""
REPEATS = 20


def main() -> None:
    """See the module."""
    run_part("copies", lambda _: measure())


def measure(size: int = SIZE) -> dict[str, Any]:
    """GB/s of each kind of copy; raises EngineError when what comes back is not what was sent."""
    require_gpu()
    name, capability = cuda.gpu_name_and_capability()
    say(f"{name}, compute capability {capability}")
    with cuda.primary_context("copying"):
        there, back = (cuda.PinnedBuffer((size,), np.dtype(np.uint8)) for _ in range(2))
        first, second = (cuda.DeviceBuffer(size) for _ in range(2))
        up, down = cuda.Stream(), cuda.Stream()
        sent, got = there.first(size), back.first(size)
        sent[:] = np.random.default_rng(0).integers(0, 256, size, np.uint8)
        got[:] = 0
        pageable = sent.copy()
        rates = {
            "pinned, to the device": _rate(up, size, lambda: up.copy_to_device(first, sent)),
            "pinned, back": _rate(down, size, lambda: down.copy_to_host(got, first)),
            "pageable, to the device": _rate(up, size, lambda: up.copy_to_device(first, pageable)),
        }
        if not np.array_equal(sent, got):
            raise EngineError("what came back from the GPU is not what was sent; see nvidia-smi")

        def both() -> None:
            up.copy_to_device(second, sent)
            down.copy_to_host(got, first)
            up.synchronize()
            down.synchronize()

        rates["pinned, both ways at once, on two streams"] = 2 * size / median_s(both) / 1e9
        for buffer in (there, back, first, second):
            buffer.free()
        up.free()
        down.free()
    for what, rate in rates.items():
        say(f"{what}: {rate:.1f} GB/s")
    return {"gpu": name, "compute_capability": capability, "bytes": size, "gb_per_s": rates}


def _rate(stream: cuda.Stream, size: int, copy: Callable[[], None]) -> float:
    """GB/s by the device's clock."""
    times = []
    for _ in range(REPEATS):
        start, end = cuda.Event(), cuda.Event()
        start.record(stream)
        copy()
        end.record(stream)
        times.append(end.seconds_since(start))
    return size / statistics.median(times) / 1e9


if __name__ == "__main__":
    main()
