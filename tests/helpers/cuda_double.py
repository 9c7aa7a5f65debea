"""The double of pycuda: modules `pycuda` and `pycuda.driver` that record into a `World` (`trt_double.py`) and keep CUDA's rules.

Each class here has the signatures of pycuda's; `World.bound` makes of it the class that knows its world.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from trt_double import World


class Error(Exception):
    pass


class LogicError(Error):
    pass


class DeviceMemoryError(Error):  # `MemoryError` in pycuda
    pass


def call(world: World, name: str, *values: Any) -> None:
    """Records a call that needs the context; it fails without one, and where it is refused."""
    if not world.stack:
        raise LogicError(f"{name} failed: invalid device context")
    if not world.note(name, *values):
        raise (
            DeviceMemoryError("cuMemAlloc failed: out of memory")
            if name == "mem_alloc"
            else LogicError(f"{name} failed: unknown\nerror")
        )


class Context:
    world: World

    def push(self) -> None:
        self.world.stack.append(self)

    @classmethod
    def pop(cls) -> None:
        cls.world.stack.pop()


class Device:
    world: World

    def __init__(self, number: int) -> None:
        self.number = number

    def retain_primary_context(self) -> Context:
        self.world.note("retain_primary_context", self.number)
        return self.world.bound(Context)()


class Stream:
    world: World

    def __init__(self, flags: int = 0) -> None:
        call(self.world, "Stream")
        self.handle = 1000 + self.world.names().count("Stream")
        self.pending: list[Callable[[], None]] = []
        self.world.streams[self.handle] = self

    def synchronize(self) -> None:
        call(self.world, "synchronize", self.handle)
        self.world.on_synchronize()
        work, self.pending = self.pending, []
        for step in work:
            step()


class Event:
    """The device's clock stands still but for `compute_ms` and `copy_ms`."""

    world: World

    def __init__(self, flags: int = 0) -> None:
        call(self.world, "Event")
        self.at: float | None = None

    def record(self, stream: Any = None) -> Event:
        call(self.world, "record", stream.handle)
        self.stream = stream
        stream.pending.append(self.mark)
        return self

    def mark(self) -> None:
        self.at = self.world.clock_ms

    def synchronize(self) -> Event:
        self.stream.synchronize()
        return self

    def time_since(self, event: Event) -> float:
        if self.at is None or event.at is None:
            raise LogicError("cuEventElapsedTime failed: device not ready")
        return self.at - event.at


class DeviceAllocation:
    world: World

    def __init__(self, size: int) -> None:
        self.address = 4096 * (1 + self.world.names().count("mem_alloc"))
        self.world.memory[self.address] = bytearray(size)

    def __int__(self) -> int:
        return self.address

    def free(self) -> None:
        call(self.world, "free device", self.address)
        del self.world.memory[self.address]


class HostAllocation:
    """Owns a pinned array, whose `base` it is."""

    world: World

    def __init__(self, shape: Any, dtype: Any) -> None:
        self.memory = np.full(shape, 0x7F, dtype)
        self.__array_interface__ = self.memory.__array_interface__

    def free(self) -> None:
        call(self.world, "free host")


class Driver(ModuleType):
    """The module `pycuda.driver`; its functions are methods, which know the world."""

    Error, LogicError, MemoryError = Error, LogicError, DeviceMemoryError

    def __init__(self, world: World) -> None:
        super().__init__("pycuda.driver")
        self._world = world
        for kind in (Context, Device, Stream, Event, DeviceAllocation, HostAllocation):
            setattr(self, kind.__name__, world.bound(kind))

    def init(self, flags: int = 0) -> None:
        self._world.note("init")

    def mem_alloc(self, size: int) -> DeviceAllocation:
        call(self._world, "mem_alloc", size)
        return self._world.bound(DeviceAllocation)(size)

    def pagelocked_empty(self, shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> NDArray[Any]:
        call(self._world, "pagelocked_empty", tuple(shape), np.dtype(dtype).name)
        return np.asarray(self._world.bound(HostAllocation)(shape, dtype))

    def memcpy_htod_async(self, dest: int, src: NDArray[Any], stream: Any = None) -> None:
        world = self._world
        call(world, "memcpy_htod_async", dest, src.nbytes)

        def copy() -> None:
            world.clock_ms += world.copy_ms
            world.memory[dest][: src.nbytes] = src.tobytes()

        stream.pending.append(copy)

    def memcpy_dtoh_async(self, dest: NDArray[Any], src: int, stream: Any = None) -> None:
        world = self._world
        call(world, "memcpy_dtoh_async", src, dest.nbytes)

        def copy() -> None:
            world.clock_ms += world.copy_ms
            dest[...] = np.frombuffer(bytes(world.memory[src][: dest.nbytes]), dest.dtype).reshape(dest.shape)

        stream.pending.append(copy)


def make_pycuda(world: World) -> tuple[ModuleType, ModuleType]:
    """The modules `pycuda` and `pycuda.driver`."""
    driver, package = Driver(world), ModuleType("pycuda")
    package.driver = driver  # type: ignore[attr-defined]
    return package, driver
