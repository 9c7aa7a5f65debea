"""A recorded-call double of TensorRT and pycuda, as far as dlcv.runtime.sessions uses them.

It keeps CUDA's rules that are easily broken: every call needs the primary context current in its thread, work on a
stream happens no earlier than `synchronize`, device memory is known by address and gone once freed, TensorRT reads the
addresses and the shape that were set before. Its "network" gives `mask = image[..., 0] % 3`, `score`, the float32
mean over a row, and `probs`, each channel's share of the brightness, of which a plan returns some. `test_trt.py` compares its signatures with the real bindings.
"""

from __future__ import annotations

import re
import struct
import threading
from collections.abc import Callable
from enum import Enum
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION = "1.7.1.116"
Severity = Enum("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE")
TensorIOMode = Enum("TensorIOMode", "NONE INPUT OUTPUT")
LayerInformationFormat = Enum("LayerInformationFormat", "ONELINE JSON")
DataType = Enum("DataType", "FLOAT HALF BF16 INT8 INT32 INT64 BOOL UINT8 FP8")


class World:
    """What happened (`calls`: one tuple a call, in order) and what shall fail (`refuse`: names of calls)."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.refuse: set[str] = set()
        self.memory: dict[int, bytearray] = {}
        self.streams: dict[int, Any] = {}
        self.stacks = threading.local()
        self.on_synchronize: Callable[[], Any] = lambda: None
        self.profile = [(1, 4, 6, 3), (2, 4, 6, 3), (4, 4, 6, 3)]
        self.tensors: dict[str, tuple[str, tuple[int, ...]]] = {
            "image": ("UINT8", (-1, 4, 6, 3)), "mask": ("UINT8", (-1, 4, 6)), "score": ("FLOAT", (-1, 4)),
        }  # fmt: skip
        self.cache_blob = b"compiled"
        self.clock_ms, self.compute_ms, self.copy_ms = 0.0, 2.5, 0.0
        self.layers = '{"Layers": ["conv", "relu"]}'

    def note(self, name: str, *values: Any) -> bool:
        """Records a call; False when it shall fail."""
        self.calls.append((name, *values))
        return name not in self.refuse

    def names(self) -> list[str]:
        return [call[0] for call in self.calls]

    @property
    def stack(self) -> list[Any]:
        if not hasattr(self.stacks, "value"):
            self.stacks.value = []
        stack: list[Any] = self.stacks.value
        return stack


def make_pycuda(world: World) -> tuple[ModuleType, ModuleType]:
    """The modules `pycuda` and `pycuda.driver`."""
    driver = ModuleType("pycuda.driver")

    class Error(Exception):
        pass

    class LogicError(Error):
        pass

    class MemoryError(Error):
        pass

    def call(name: str, *values: Any) -> None:
        if not world.stack:
            raise LogicError(f"{name} failed: invalid device context")
        if not world.note(name, *values):
            raise (
                MemoryError("cuMemAlloc failed: out of memory")
                if name == "mem_alloc"
                else LogicError(f"{name} failed: unknown\nerror")
            )

    class Context:
        def push(self) -> None:
            world.stack.append(self)

        @staticmethod
        def pop() -> None:
            world.stack.pop()

    class Device:
        def __init__(self, number: int) -> None:
            self.number = number

        def retain_primary_context(self) -> Context:
            world.note("retain_primary_context", self.number)
            return Context()

    class Stream:
        def __init__(self, flags: int = 0) -> None:
            call("Stream")
            self.handle = 1000 + world.names().count("Stream")
            self.pending: list[Callable[[], None]] = []
            world.streams[self.handle] = self

        def synchronize(self) -> None:
            call("synchronize", self.handle)
            world.on_synchronize()
            work, self.pending = self.pending, []
            for step in work:
                step()

    class Event:  # the device's clock stands still but for `compute_ms` and `copy_ms`
        def __init__(self, flags: int = 0) -> None:
            call("Event")
            self.at: float | None = None

        def record(self, stream: Any = None) -> Event:
            call("record", stream.handle)
            self.stream = stream
            stream.pending.append(self.mark)
            return self

        def mark(self) -> None:
            self.at = world.clock_ms

        def synchronize(self) -> Event:
            self.stream.synchronize()
            return self

        def time_since(self, event: Event) -> float:
            if self.at is None or event.at is None:
                raise LogicError("cuEventElapsedTime failed: device not ready")
            return self.at - event.at

    class DeviceAllocation:
        def __init__(self, size: int) -> None:
            self.address = 4096 * (1 + world.names().count("mem_alloc"))
            world.memory[self.address] = bytearray(size)

        def __int__(self) -> int:
            return self.address

        def free(self) -> None:
            call("free device", self.address)
            del world.memory[self.address]

    class HostAllocation:  # owns a pinned array, whose `base` it is
        def __init__(self, shape: Any, dtype: Any) -> None:
            self.memory = np.full(shape, 0x7F, dtype)
            self.__array_interface__ = self.memory.__array_interface__

        def free(self) -> None:
            call("free host")

    def mem_alloc(size: int) -> DeviceAllocation:
        call("mem_alloc", size)
        return DeviceAllocation(size)

    def pagelocked_empty(shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> NDArray[Any]:
        call("pagelocked_empty", tuple(shape), np.dtype(dtype).name)
        return np.asarray(HostAllocation(shape, dtype))

    def memcpy_htod_async(dest: int, src: NDArray[Any], stream: Any = None) -> None:
        call("memcpy_htod_async", dest, src.nbytes)

        def copy() -> None:
            world.clock_ms += world.copy_ms
            world.memory[dest][: src.nbytes] = src.tobytes()

        stream.pending.append(copy)

    def memcpy_dtoh_async(dest: NDArray[Any], src: int, stream: Any = None) -> None:
        call("memcpy_dtoh_async", src, dest.nbytes)

        def copy() -> None:
            world.clock_ms += world.copy_ms
            dest[...] = np.frombuffer(bytes(world.memory[src][: dest.nbytes]), dest.dtype).reshape(dest.shape)

        stream.pending.append(copy)

    def init(flags: int = 0) -> None:
        world.note("init")

    for member in (Error, LogicError, MemoryError, Context, Device, Stream, Event, DeviceAllocation, HostAllocation):
        setattr(driver, member.__name__, member)
    for function in (mem_alloc, pagelocked_empty, memcpy_htod_async, memcpy_dtoh_async, init):
        setattr(driver, function.__name__, function)
    package = ModuleType("pycuda")
    package.driver = driver  # type: ignore[attr-defined]
    return package, driver


def make_tensorrt(world: World, name: str = "tensorrt_rtx", version: str = VERSION) -> ModuleType:
    """The module `tensorrt_rtx`, `tensorrt` or `tensorrt_lean`."""
    trt = ModuleType(name)

    class ILogger:
        INTERNAL_ERROR, ERROR, WARNING = Severity.INTERNAL_ERROR, Severity.ERROR, Severity.WARNING

        def log(self, severity: Any, msg: str) -> None:
            raise NotImplementedError

    def checked(call: str, logger: Any, *values: Any) -> bool:
        done = world.note(call, *values)
        if not done:
            logger.log(ILogger.ERROR, f"{call}: Error Code 2:\nthe double refuses")
        return done

    class EngineInspector:
        execution_context: Any = None

        def get_engine_information(self, format: Any) -> str:
            world.note("get_engine_information", format.name, bool(world.stack))
            if name == "tensorrt_rtx" or (self.execution_context is not None and self.execution_context.shape):
                return world.layers
            return re.sub(r'("Format/Datatype": )"[^"]*"', r'\1"N/A due to dynamic shapes"', world.layers)

    class IRuntimeCache:
        def serialize(self) -> bytes:
            world.note("serialize")
            return world.cache_blob

        def deserialize(self, blob: bytes) -> bool:
            return world.note("deserialize", bytes(blob))

    class IRuntimeConfig:
        def create_runtime_cache(self) -> IRuntimeCache:
            return IRuntimeCache()

        def set_runtime_cache(self, cache: IRuntimeCache | None = None) -> bool:
            return world.note("set_runtime_cache")

    class IExecutionContext:
        def __init__(self, logger: Any) -> None:
            self.logger = logger
            self.shape: tuple[int, ...] = ()
            self.addresses: dict[str, int] = {}

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            self.shape = tuple(shape)
            return checked("set_input_shape", self.logger, name, tuple(shape))

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return (self.shape[0], *world.tensors[name][1][1:])

        def set_tensor_address(self, name: str, memory: int) -> bool:
            self.addresses[name] = memory
            return checked("set_tensor_address", self.logger, name, memory)

        def execute_async_v3(self, stream_handle: int) -> bool:
            if not checked("execute_async_v3", self.logger, id(self), stream_handle):
                return False
            shape, addresses = self.shape, dict(self.addresses)
            world.streams[stream_handle].pending.append(lambda: compute(shape, addresses))
            return True

        def __del__(self) -> None:
            world.note("delete context", bool(world.stack))

    def compute(shape: tuple[int, ...], addresses: dict[str, int]) -> None:
        world.clock_ms += world.compute_ms
        count = int(np.prod(shape))
        image = np.frombuffer(bytes(world.memory[addresses["image"]][:count]), np.uint8).reshape(shape)
        network = {
            "mask": lambda: image[..., 0] % 3,
            "score": lambda: image.mean((2, 3), dtype=np.float32),
            "probs": lambda: (
                image.mean((1, 2), dtype=np.float32) / image.mean((1, 2)).sum(1, dtype=np.float32)[:, None]
            ),
        }
        for output, result in network.items():
            if output in addresses:
                data = result().tobytes()
                world.memory[addresses[output]][: len(data)] = data

    class ICudaEngine:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        @property
        def num_io_tensors(self) -> int:
            return len(world.tensors)

        def get_tensor_name(self, index: int) -> str:
            return list(world.tensors)[index]

        def get_tensor_mode(self, name: str) -> Any:
            return TensorIOMode.INPUT if name.startswith("image") else TensorIOMode.OUTPUT

        def get_tensor_dtype(self, name: str) -> Any:
            return DataType[world.tensors[name][0]]

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return world.tensors[name][1]

        def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
            return list(world.profile)

        def create_execution_context(self, runtime_config: Any = None) -> Any:
            return (
                IExecutionContext(self.logger)
                if checked("create_execution_context", self.logger, runtime_config is not None)
                else None
            )

        def create_engine_inspector(self) -> EngineInspector:
            return EngineInspector()

        def __len__(self) -> int:  # as in 8.6: an engine must not be tested for truth
            return 0

        def __del__(self) -> None:
            world.note("delete engine", bool(world.stack))

    def create_runtime_config(self: ICudaEngine) -> IRuntimeConfig:
        return IRuntimeConfig()

    if name == "tensorrt_rtx":
        ICudaEngine.create_runtime_config = create_runtime_config  # type: ignore[attr-defined]

    class Runtime:
        def __init__(self, logger: Any) -> None:
            world.note("Runtime", name)
            self.logger = logger

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
            return (
                ICudaEngine(self.logger)
                if checked("deserialize_cuda_engine", self.logger, len(serialized_engine))
                else None
            )

        def __del__(self) -> None:
            world.note("delete runtime", bool(world.stack))

    ILogger.Severity = Severity  # type: ignore[attr-defined]
    trt.__version__ = version  # type: ignore[attr-defined]
    trt.DataType, trt.TensorIOMode = DataType, TensorIOMode  # type: ignore[attr-defined]
    trt.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=0)  # type: ignore[attr-defined]
    trt.LayerInformationFormat = LayerInformationFormat  # type: ignore[attr-defined]
    for member in (EngineInspector, ILogger, IRuntimeCache, IRuntimeConfig, IExecutionContext, ICudaEngine, Runtime):
        setattr(trt, member.__name__, member)
    return trt


def plan_bytes(card_json: str, *, magic: bytes = b"vtrt", version: str = VERSION, mask: int = 0b111110) -> bytes:
    """A file with a plan's header and card, and nothing that a real library would run."""
    numbers = bytes(int(part) for part in version.split("."))
    header = magic.ljust(24, b"\0") + numbers + magic + struct.pack("<I", mask)
    return header.ljust(580, b"\0") + b"dlcv1:" + card_json.encode() + b"\x01\x80"
