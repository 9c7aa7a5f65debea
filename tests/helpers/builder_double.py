"""A recorded-call double of TensorRT's builder, as far as `export/builders` uses it, for the releases that cannot be installed here.

Its "plan" is a header and the network's name. `test_builder_double.py` compares its signatures with the real bindings. What a
function here makes is a class of the module `tensorrt`: each knows the world that it records into.
"""

from __future__ import annotations

import json
import signal
import struct
import time
from enum import IntEnum
from types import ModuleType, SimpleNamespace
from typing import Any

import network_double
from network_double import KERNELS, DataType, LayerType

Severity = IntEnum("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE", start=0)
_WORDS = {"FLOAT": "Row major linear FP32", "HALF": "Channel major FP16 format where channel % 8 == 0",
          "INT8": "Thirty-two wide channel vectorized row major Int8 format"}  # fmt: skip
"""As the inspector of 8.6 writes them."""


class World:
    """What happened, and what the double shall do.

    Attributes:
        calls: name and arguments of each call, in order.
        build_errors: logged by the build, which then gives nothing.
        build_s: how long a build takes, in seconds; it asks its monitor all the time.
        ctrl_c_at: seconds after the beginning of a build at which Ctrl-C is pressed.
        cache_of: what a timing cache must begin with to be accepted, as a library of another release or GPU would not.
        sides: of the graph's input, -1 where they vary.
        slow: precisions that the GPU has no fast kernels for.
        ran: by layer, the DataType, or TF32, that it runs in whatever it was held to.
        detailed: whether the inspector tells the layers' types.
        layers: of the network that was parsed.
        typed: whether that network is strongly typed.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.build_errors: list[str] = []
        self.build_s = 0.0
        self.ctrl_c_at: list[float] = []
        self.cache_of = b"here"
        self.sides: tuple[int, int] = (16, 24)
        self.slow: tuple[str, ...] = ()
        self.ran: dict[str, str] = {}
        self.detailed = True
        self.layers: list[Any] = []
        self.typed = False

    def note(self, *call: Any) -> None:
        self.calls.append(call)

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [call[1:] for call in self.calls if call[0] == name]


def make_builder(world: World, name: str, version: str) -> ModuleType:
    """The module `tensorrt` of a release: what its bindings lack, the double lacks too."""
    trt = ModuleType(name)
    major, minor = (int(part) for part in version.split(".")[:2])
    release = major, minor
    config, network = _config(world), _network(world)
    members = [
        ILogger, IProgressMonitor, ITimingCache, config, network, _profile(world), _builder(world, version, config, network),
        _parser(world, release), *_runtime(world),
    ]  # fmt: skip
    for member in members:
        if member is not IProgressMonitor or release >= (10, 0):
            setattr(trt, member.__name__, member)
    for enum, values in _enums(release).items():
        setattr(trt, enum, values)
    trt.__version__ = version  # type: ignore[attr-defined]
    return trt


def _enums(release: tuple[int, int]) -> dict[str, Any]:
    flags = ["TF32"] + (["FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS"] if release < (11, 0) else [])
    found: dict[str, Any] = {
        "NetworkDefinitionCreationFlag": SimpleNamespace(
            EXPLICIT_BATCH=0, **({"STRONGLY_TYPED": 1} if release >= (10, 0) else {})
        ),
        "ProfilingVerbosity": _names("LAYER_NAMES_ONLY", "DETAILED"),
        "MemoryPoolType": _names("WORKSPACE"),
        "TacticSource": SimpleNamespace(CUBLAS=0, CUDNN=2, EDGE_MASK_CONVOLUTIONS=3, JIT_CONVOLUTIONS=4),
        "LayerInformationFormat": _names("ONELINE", "JSON"),
        "DataType": DataType,
        "LayerType": LayerType,
    }
    if release >= (10, 0):
        found["ExecutionContextAllocationStrategy"] = _names("STATIC", "ON_PROFILE_CHANGE", "USER_MANAGED")
    if release >= (8, 6):
        flags += ["VERSION_COMPATIBLE", "EXCLUDE_LEAN_RUNTIME"]
        found["HardwareCompatibilityLevel"] = _names("NONE", "AMPERE_PLUS")
        found["PreviewFeature"] = _names(*(["PROFILE_SHARING_0806"] if release < (10, 0) else []))
    return found | {"BuilderFlag": _names(*flags)}


def _names(*names: str) -> SimpleNamespace:
    return SimpleNamespace(**{name: name for name in names})


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING = Severity.INTERNAL_ERROR, Severity.ERROR, Severity.WARNING

    def log(self, severity: Any, msg: str) -> None:
        raise NotImplementedError


class IProgressMonitor:
    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None: ...

    def step_complete(self, phase_name: str, step: int) -> bool: ...

    def phase_finish(self, phase_name: str) -> None: ...


class ITimingCache:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def serialize(self) -> bytes:
        return self.data


def _profile(world: World) -> type:
    class IOptimizationProfile:
        def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
            world.note("set_shape", input, min, opt, max)

    return IOptimizationProfile


def _config(world: World) -> type:
    class IBuilderConfig:
        def __init__(self, logger: Any) -> None:
            self._logger, self._cache = logger, None

        def add_optimization_profile(self, profile: Any) -> int:
            return 0

        def set_flag(self, flag: Any) -> None:
            world.note("set_flag", flag)

        def clear_flag(self, flag: Any) -> None:
            world.note("clear_flag", flag)

        def set_preview_feature(self, feature: Any, enable: bool) -> None:
            world.note("set_preview_feature", feature, enable)

        def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
            world.note("set_memory_pool_limit", pool, pool_size)

        def set_tactic_sources(self, tactic_sources: int) -> bool:
            world.note("set_tactic_sources", tactic_sources)
            return True

        def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
            if serialized_timing_cache and not serialized_timing_cache.startswith(world.cache_of):
                self._logger.log(Severity.ERROR, "timing cache: version mismatch")
                return None
            return ITimingCache(serialized_timing_cache)

        def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
            world.note("set_timing_cache", cache.data, ignore_mismatch)
            self._cache = cache
            return True

        def get_timing_cache(self) -> ITimingCache | None:
            return self._cache

        def __setattr__(self, attribute: str, value: Any) -> None:
            if not attribute.startswith("_"):
                world.note(attribute, value)
            object.__setattr__(self, attribute, value)

    return IBuilderConfig


def _network(world: World) -> type:
    class INetworkDefinition:
        name = ""
        num_inputs = 1

        @property
        def num_layers(self) -> int:
            return len(world.layers)

        def get_layer(self, index: int) -> Any:
            return world.layers[index]

        def get_input(self, index: int) -> Any:
            return SimpleNamespace(name="image", shape=(-1, *world.sides, 3), dtype=DataType.UINT8)

    return INetworkDefinition


def _parser(world: World, release: tuple[int, int]) -> type:
    class OnnxParser:
        num_errors = 0

        def __init__(self, network: Any, logger: Any) -> None:
            pass

        def parse_from_file(self, model: str) -> bool:
            world.note("parse_from_file", model)
            parse = network_double.layers_of if release < (10, 0) else network_double.typed_layers_of
            world.layers = parse(model, world.note)
            world.typed = release >= (10, 0)
            return True

    return OnnxParser


def _builder(world: World, version: str, config: type, network: type) -> type:
    class Builder:
        platform_has_fast_fp16 = "fp16" not in world.slow
        platform_has_fast_int8 = "int8" not in world.slow

        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def create_network(self, flags: int = 0) -> Any:
            world.note("create_network", flags)
            return network()

        def create_builder_config(self) -> Any:
            return config(self.logger)

        def create_optimization_profile(self) -> Any:
            return _profile(world)()

        def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
            if not _worked(world, self.logger, vars(config).get("progress_monitor")):
                return None
            for error in world.build_errors:
                self.logger.log(Severity.ERROR, error)
            if world.build_errors:
                return None
            cache = vars(config).get("_cache")
            if cache is not None:
                cache.data = world.cache_of + b" measured"
            return _plan(version, network.name)

    return Builder


def _worked(world: World, logger: Any, monitor: Any) -> bool:
    """Passes the time of a build; False when it was stopped."""
    if monitor is not None:
        monitor.phase_start("Building engine", None, 1000)
    begun, step, presses = time.monotonic(), 0, list(world.ctrl_c_at)
    while time.monotonic() - begun < world.build_s:
        time.sleep(0.01)
        if presses and time.monotonic() - begun > presses[0]:
            presses.pop(0)
            signal.raise_signal(signal.SIGINT)
        if monitor is not None and not monitor.step_complete("Building engine", step := step + 1):
            logger.log(Severity.ERROR, "BuildCanceled (Build canceled by user)")
            return False
    return True


def _plan(version: str, card: str) -> bytes:
    header = struct.pack("<I", 0x74727466) + bytes(20) + bytes(int(part) for part in version.split("."))
    return header.ljust(580, b"\0") + card.encode() + b"\x01\x80"


def _runtime(world: World) -> list[type]:
    class EngineInspector:
        execution_context: Any = None

        def get_engine_information(self, format: Any) -> str:
            return _told(world, self.execution_context)

    class IExecutionContext:
        shape: Any = None

        def set_input_shape(self, name: str, shape: Any) -> bool:
            self.shape = shape
            return name == "image"

    class ICudaEngine:
        def create_execution_context_without_device_memory(self) -> IExecutionContext:
            assert not world.typed, "11 has it no longer"
            return IExecutionContext()

        def create_execution_context(self, strategy: Any) -> IExecutionContext:
            assert strategy == "USER_MANAGED", "it would take the GPU's memory"
            return IExecutionContext()

        def create_engine_inspector(self) -> EngineInspector:
            return EngineInspector()

    class Runtime:
        def __init__(self, logger: Any) -> None:
            pass

        def deserialize_cuda_engine(self, serialized_engine: Any) -> ICudaEngine:
            return ICudaEngine()

    return [EngineInspector, IExecutionContext, ICudaEngine, Runtime]


def _told(world: World, context: Any) -> str:
    """The layers with weights, each with the activation behind it; without a context no formats, as where a batch varies."""
    if not world.detailed:
        return json.dumps({"Layers": [layer.name for layer in world.layers]})
    told = []
    for layer in world.layers:
        if layer.type in KERNELS:
            out = layer.get_output(0)
            behind = [one.name for one in world.layers if one.type is LayerType.ACTIVATION and one.get_input(0) is out]
            runs_in = _runs_in(world, layer)
            tactic = "sm80_xmma_fprop_tf32f32" if runs_in == "TF32" else "sm80_xmma_fprop"
            words = (
                "N/A due to dynamic shapes" if context is None else _WORDS["FLOAT" if runs_in == "TF32" else runs_in]
            )
            side = {"Name": "x", "Dimensions": [4, 8, 4, 6], "Format/Datatype": words}
            told.append({
                "Name": " + ".join([layer.name, *behind]), "LayerType": "CaskConvolution", "Inputs": [side], "Outputs": [side],
                "Weights": {"Count": layer.weights}, "TacticName": tactic,
            })  # fmt: skip
    return json.dumps({"Layers": told})


def _runs_in(world: World, layer: Any) -> str:
    """As 8.6 does: what the layer is held to if that binds, int8 between pairs, and else the fastest that the flags allow."""
    flags = {flag for (flag,) in world.named("set_flag")}
    makers = {id(one.get_output(k)): one.type for one in world.layers for k in range(one.num_outputs)}
    if layer.name in world.ran:
        return world.ran[layer.name]
    if world.typed and makers.get(id(layer.get_input(0))) is not LayerType.DEQUANTIZE:
        return str(layer.get_input(0).dtype.name)
    if layer.held is not None and "OBEY_PRECISION_CONSTRAINTS" in flags:
        return str(layer.held.name)
    if (world.typed or "INT8" in flags) and makers.get(id(layer.get_input(0))) is LayerType.DEQUANTIZE:
        return "INT8"
    return "HALF" if "FP16" in flags else "FLOAT"
