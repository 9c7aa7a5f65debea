"""The double of TensorRT's runtime: a module that records into a `World` (`trt_double.py`), of any release and library.

Each class here has the signatures of TensorRT's; `World.bound` makes of it the class that knows its world. Engines and contexts note
whether the CUDA context is current when they are deleted.
"""

from __future__ import annotations

import re
from enum import Enum
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from trt_double import World

VERSION = "1.7.1.116"
Severity = Enum("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE")
TensorIOMode = Enum("TensorIOMode", "NONE INPUT OUTPUT")
LayerInformationFormat = Enum("LayerInformationFormat", "ONELINE JSON")
CudaGraphStrategy = Enum("CudaGraphStrategy", "DISABLED WHOLE_GRAPH_CAPTURE")
DataType = Enum("DataType", "FLOAT HALF BF16 INT8 INT32 INT64 BOOL UINT8 FP8")


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING = Severity.INTERNAL_ERROR, Severity.ERROR, Severity.WARNING
    Severity = Severity

    def log(self, severity: Any, msg: str) -> None:
        raise NotImplementedError


def checked(world: World, logger: Any, call: str, *values: Any) -> bool:
    """Records a call; False, and an error for the logger, where it is refused."""
    done = world.note(call, *values)
    if not done:
        logger.log(ILogger.ERROR, f"{call}: Error Code 2:\nthe double refuses")
    return done


class EngineInspector:
    world: World
    is_rtx: bool
    execution_context: Any = None

    def get_engine_information(self, format: Any) -> str:
        world = self.world
        world.note("get_engine_information", format.name, bool(world.stack))
        if self.is_rtx or (self.execution_context is not None and self.execution_context.shape):
            return world.layers
        return re.sub(r'("Format/Datatype": )"[^"]*"', r'\1"N/A due to dynamic shapes"', world.layers)


class IRuntimeCache:
    world: World

    def serialize(self) -> bytes:
        self.world.note("serialize")
        return self.world.cache_blob

    def deserialize(self, blob: bytes) -> bool:
        return self.world.note("deserialize", bytes(blob))


class IRuntimeConfig:
    world: World

    def create_runtime_cache(self) -> IRuntimeCache:
        return self.world.bound(IRuntimeCache)()

    def set_runtime_cache(self, cache: IRuntimeCache | None = None) -> bool:
        return self.world.note("set_runtime_cache")

    @property
    def cuda_graph_strategy(self) -> Any:
        return CudaGraphStrategy.DISABLED

    @cuda_graph_strategy.setter
    def cuda_graph_strategy(self, strategy: Any) -> None:
        self.world.note("cuda_graph_strategy", strategy.name)


class IExecutionContext:
    world: World

    def __init__(self, logger: Any) -> None:
        self.logger = logger
        self.shape: tuple[int, ...] = ()
        self.prepared_for: list[tuple[int, ...]] = []
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = tuple(shape)
        self.prepared_for[:] = [self.shape]
        return checked(self.world, self.logger, "set_input_shape", name, tuple(shape))

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self.shape[0], *self.world.tensors[name][1][1:])

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self.addresses[name] = memory
        return checked(self.world, self.logger, "set_tensor_address", name, memory)

    def execute_async_v3(self, stream_handle: int) -> bool:
        world, shape, addresses, prepared_for = self.world, self.shape, dict(self.addresses), self.prepared_for
        if not checked(world, self.logger, "execute_async_v3", id(self), stream_handle):
            return False
        world.streams[stream_handle].pending.append(
            # a graph that is launched after its context was given another shape finds another state there
            lambda: compute(world, shape, addresses) if prepared_for == [shape] else spoil(world, addresses)
        )
        return True

    def __del__(self) -> None:
        self.world.note("delete context", bool(self.world.stack))


def spoil(world: World, addresses: dict[str, int]) -> None:
    """What a graph leaves that was recorded in another state of its context: nonsense."""
    for name, address in addresses.items():
        if name != "image":
            world.memory[address][:] = b"\x7f" * len(world.memory[address])


def compute(world: World, shape: tuple[int, ...], addresses: dict[str, int]) -> None:
    """The network, on device memory."""
    world.clock_ms += world.compute_ms
    count = int(np.prod(shape))
    image = np.frombuffer(bytes(world.memory[addresses["image"]][:count]), np.uint8).reshape(shape)
    network = {
        "mask": lambda: image[..., 0] % 3,
        "score": lambda: image.mean((2, 3), dtype=np.float32),
        "probs": lambda: image.mean((1, 2), dtype=np.float32) / image.mean((1, 2)).sum(1, dtype=np.float32)[:, None],
        "logits": lambda: world.spoilt(np.eye(3, dtype=np.float32)[image[..., 0] % 3].transpose(0, 3, 1, 2).copy()),
    }
    for output, result in network.items():
        if output in addresses:
            data = result().tobytes()
            world.memory[addresses[output]][: len(data)] = data


class ICudaEngine:
    world: World
    inspector: type[EngineInspector]

    def __init__(self, logger: Any) -> None:
        self.logger = logger

    @property
    def num_io_tensors(self) -> int:
        return len(self.world.tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self.world.tensors)[index]

    def get_tensor_mode(self, name: str) -> Any:
        return TensorIOMode.INPUT if name.startswith("image") else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return DataType[self.world.tensors[name][0]]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.world.tensors[name][1]

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        return list(self.world.profile)

    def create_execution_context(self, runtime_config: Any = None) -> Any:
        made = checked(self.world, self.logger, "create_execution_context", runtime_config is not None)
        return self.world.bound(IExecutionContext)(self.logger) if made else None

    def create_engine_inspector(self) -> EngineInspector:
        return self.inspector()

    def __len__(self) -> int:  # as in 8.6: an engine must not be tested for truth
        return 0

    def __del__(self) -> None:
        self.world.note("delete engine", bool(self.world.stack))


class RtxEngine(ICudaEngine):
    """`ICudaEngine` of TensorRT-RTX, which alone has a runtime cache."""

    def create_runtime_config(self) -> IRuntimeConfig:
        return self.world.bound(IRuntimeConfig)()


class Runtime:
    world: World
    library: str
    engine: type[ICudaEngine]

    def __init__(self, logger: Any) -> None:
        self.world.note("Runtime", self.library)
        self.logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
        loaded = checked(self.world, self.logger, "deserialize_cuda_engine", len(serialized_engine))
        return self.engine(self.logger) if loaded else None

    def __del__(self) -> None:
        self.world.note("delete runtime", bool(self.world.stack))


def make_tensorrt(world: World, name: str = "tensorrt_rtx", version: str = VERSION) -> ModuleType:
    """The module `tensorrt_rtx`, `tensorrt` or `tensorrt_lean`."""
    is_rtx = name == "tensorrt_rtx"
    inspector = world.bound(EngineInspector, is_rtx=is_rtx)
    engine = world.bound(RtxEngine if is_rtx else ICudaEngine, inspector=inspector)
    values = {
        "__version__": version, "DataType": DataType, "TensorIOMode": TensorIOMode, "LayerInformationFormat": LayerInformationFormat,
        "NetworkDefinitionCreationFlag": SimpleNamespace(STRONGLY_TYPED=0), "ILogger": ILogger, "EngineInspector": inspector,
        "CudaGraphStrategy": CudaGraphStrategy, "IRuntimeCache": world.bound(IRuntimeCache), "IRuntimeConfig": world.bound(IRuntimeConfig),
        "IExecutionContext": world.bound(IExecutionContext), "ICudaEngine": engine,
        "Runtime": world.bound(Runtime, library=name, engine=engine),
    }  # fmt: skip
    trt = ModuleType(name)
    for member, value in values.items():
        setattr(trt, member, value)
    return trt
