"""The GPU as the TensorRT session needs it: driver, name, primary context, stream, pinned and device memory.

The only module that imports pycuda, so that another binding can take its place. Whether a driver is there and which GPU
is asked of `libcuda.so.1` itself, before any package is imported.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.errors import EngineError, MissingPackageError, OutOfMemory

LIBRARY = "libcuda.so.1"
_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*


def driver_problem() -> str:
    """What is wrong with the NVIDIA driver, as the end of "this machine has ..."; empty where it works."""
    if missing := driver_library_missing():
        return missing
    library = ctypes.CDLL(LIBRARY)
    code = int(library.cuInit(0))
    if code == _NO_DEVICE:
        return "an NVIDIA driver and no GPU that it may use (see nvidia-smi and CUDA_VISIBLE_DEVICES)"
    return f"an NVIDIA driver that does not start (cuInit returned {code}; see nvidia-smi)" if code else ""


def driver_library_missing() -> str:
    """`no NVIDIA driver (libcuda.so.1)` where its library is not there; else empty. Starts no driver, unlike `driver_problem`."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return f"no NVIDIA driver ({LIBRARY})"
    return ""


def driver_present() -> bool:
    """Whether an NVIDIA driver answers and has a GPU."""
    return not driver_problem()


def gpu_name_and_capability(index: int = 0) -> tuple[str, str]:
    """Name and compute capability of a GPU, such as `("NVIDIA H200", "9.0")`; only where `driver_present`."""
    library, device = ctypes.CDLL(LIBRARY), ctypes.c_int()
    library.cuInit(0)
    library.cuDeviceGet(ctypes.byref(device), index)
    name, major, minor = ctypes.create_string_buffer(256), ctypes.c_int(), ctypes.c_int()
    library.cuDeviceGetName(name, len(name), device)
    library.cuDeviceGetAttribute(ctypes.byref(major), _CAPABILITY_MAJOR, device)
    library.cuDeviceGetAttribute(ctypes.byref(minor), _CAPABILITY_MINOR, device)
    return name.value.decode("utf-8", "replace"), f"{major.value}.{minor.value}"


@contextmanager
def primary_context(doing: str) -> Iterator[None]:
    """Makes the GPU's primary context, which torch and ONNX Runtime share, current in this thread for a while.

    Args:
        doing: what is done meanwhile, such as `running fcn8s.plan`, for the error's sentence.

    Raises:
        OutOfMemory: when the GPU's memory runs out inside.
        EngineError: when a CUDA call inside fails otherwise; pycuda's errors are turned into it.
        MissingPackageError: when pycuda cannot be imported.
    """
    driver = _pycuda()
    try:
        context = _retained()
        context.push()
        try:
            yield
        finally:
            context.pop()
    except driver.MemoryError as error:
        raise OutOfMemory(
            f"out of GPU memory while {doing}; close other programs on the GPU or build the plan with a smaller "
            "--max-batch"
        ) from error
    except driver.Error as error:
        raise EngineError(f"CUDA failed while {doing}: {' '.join(str(error).split())}") from error


class Stream:
    """A CUDA stream with the copies on it, which waits for no other one. To be made, used and freed inside `primary_context`."""

    def __init__(self) -> None:
        # While a stream that waits for the default one records a graph, work of others on that one (torch's) would fail.
        self._stream = _pycuda().Stream(_NON_BLOCKING)

    @property
    def handle(self) -> int:
        return int(self._stream.handle)

    def copy_to_device(self, buffer: DeviceBuffer, host: NDArray[Any]) -> None:
        """Starts a copy of `host`, pinned and C-contiguous, to the start of `buffer`."""
        _pycuda().memcpy_htod_async(buffer.address, host, self._stream)

    def copy_to_host(self, host: NDArray[Any], buffer: DeviceBuffer) -> None:
        """Starts a copy of the start of `buffer` to `host`, pinned and C-contiguous."""
        _pycuda().memcpy_dtoh_async(host, buffer.address, self._stream)

    def synchronize(self) -> None:
        """Waits for all that was started on the stream."""
        self._stream.synchronize()

    def free(self) -> None:
        self._stream = None


class Event:
    """A mark on a stream, with the device's clock. To be made and used inside `primary_context`."""

    def __init__(self) -> None:
        self._event = _pycuda().Event()

    def record(self, stream: Stream) -> None:
        """Sets the mark behind all that was started on the stream."""
        self._event.record(stream._stream)

    def seconds_since(self, start: Event) -> float:
        """Waits for this mark; the seconds from `start` to it, which the device knows to half a microsecond."""
        self._event.synchronize()
        return float(self._event.time_since(start._event)) / 1000


class DeviceBuffer:
    """GPU memory of `size` bytes. To be made and freed inside `primary_context`."""

    def __init__(self, size: int) -> None:
        self._allocation = _pycuda().mem_alloc(max(1, size))
        self.address = int(self._allocation)

    def free(self) -> None:
        self._allocation.free()


class PinnedBuffer:
    """A page-locked array: copies run beside other work. To be made and freed inside `primary_context`."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._whole = _pycuda().pagelocked_empty(shape, dtype)

    def first(self, rows: int) -> NDArray[Any]:
        """A view of the first rows; not to be kept beyond `free`."""
        view: NDArray[Any] = self._whole[:rows]
        return view

    def free(self) -> None:
        allocation, self._whole = self._whole.base, None
        allocation.free()


@cache
def _pycuda() -> Any:
    try:
        from pycuda import driver  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise MissingPackageError("pycuda", "run a TensorRT plan", "pip install pycuda") from error
    driver.init()
    return driver


@cache
def _retained() -> Any:
    # Kept to the end of the process, as torch does: pycuda's release leaves a dead context current in the thread, on
    # which the next CUDA user of that thread fails. pycuda.autoinit would make a context of its own, not share one.
    context = _pycuda().Device(0).retain_primary_context()
    # One reference more than there are: at exit pycuda would release it as if it were its own (cuCtxDetach) and print
    # that this failed (seen with pycuda 2026.1).
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(context))
    return context
