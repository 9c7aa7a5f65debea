"""A recorded-call double of TensorRT's builder, as far as `export/builders` uses it, for the releases that cannot be installed here.

Its "plan" is a header and the network's name. `test_builder_double.py` compares its signatures with the real bindings.
"""

from __future__ import annotations

import signal
import struct
import time
from enum import IntEnum
from types import ModuleType, SimpleNamespace
from typing import Any

Severity = IntEnum("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE", start=0)


class World:
    """What happened, and what the double shall do.

    Attributes:
        calls: name and arguments of each call, in order.
        build_errors: logged by the build, which then gives nothing.
        build_s: how long a build takes, in seconds; it asks its monitor all the time.
        ctrl_c_at: seconds after the beginning of a build at which Ctrl-C is pressed.
        cache_of: what a timing cache must begin with to be accepted, as a library of another release or GPU would not.
        sides: of the graph's input, -1 where they vary.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.build_errors: list[str] = []
        self.build_s = 0.0
        self.ctrl_c_at: list[float] = []
        self.cache_of = b"here"
        self.sides: tuple[int, int] = (16, 24)

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [call[1:] for call in self.calls if call[0] == name]


def make_builder(world: World, name: str, version: str) -> ModuleType:
    """The module `tensorrt` of a release: what its bindings lack, the double lacks too."""
    trt, major = ModuleType(name), int(version.split(".", maxsplit=1)[0])
    minor = int(version.split(".")[1])

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

    class IOptimizationProfile:
        def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
            world.calls.append(("set_shape", input, min, opt, max))

    class IBuilderConfig:
        def __init__(self, logger: Any) -> None:
            self._logger, self._cache = logger, None

        def add_optimization_profile(self, profile: Any) -> int:
            return 0

        def set_flag(self, flag: Any) -> None:
            world.calls.append(("set_flag", flag))

        def clear_flag(self, flag: Any) -> None:
            world.calls.append(("clear_flag", flag))

        def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
            world.calls.append(("set_memory_pool_limit", pool, pool_size))

        def set_tactic_sources(self, tactic_sources: int) -> bool:
            world.calls.append(("set_tactic_sources", tactic_sources))
            return True

        def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
            if serialized_timing_cache and not serialized_timing_cache.startswith(world.cache_of):
                self._logger.log(Severity.ERROR, "timing cache: version mismatch")
                return None
            return ITimingCache(serialized_timing_cache)

        def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
            world.calls.append(("set_timing_cache", cache.data, ignore_mismatch))
            self._cache = cache
            return True

        def get_timing_cache(self) -> ITimingCache | None:
            return self._cache

        def __setattr__(self, attribute: str, value: Any) -> None:
            if not attribute.startswith("_"):
                world.calls.append((attribute, value))
            object.__setattr__(self, attribute, value)

    class INetworkDefinition:
        name = ""
        num_inputs = 1

        def get_input(self, index: int) -> Any:
            return SimpleNamespace(name="image", shape=(-1, *world.sides, 3))

    class Builder:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def create_network(self, flags: int = 0) -> INetworkDefinition:
            world.calls.append(("create_network", flags))
            return INetworkDefinition()

        def create_builder_config(self) -> IBuilderConfig:
            return IBuilderConfig(self.logger)

        def create_optimization_profile(self) -> IOptimizationProfile:
            return IOptimizationProfile()

        def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
            monitor = vars(config).get("progress_monitor")
            if monitor is not None:
                monitor.phase_start("Building engine", None, 1000)
            begun, step, presses = time.monotonic(), 0, list(world.ctrl_c_at)
            while time.monotonic() - begun < world.build_s:
                time.sleep(0.01)
                if presses and time.monotonic() - begun > presses[0]:
                    presses.pop(0)
                    signal.raise_signal(signal.SIGINT)
                if monitor is not None and not monitor.step_complete("Building engine", step := step + 1):
                    self.logger.log(Severity.ERROR, "BuildCanceled (Build canceled by user)")
                    return None
            for error in world.build_errors:
                self.logger.log(Severity.ERROR, error)
            if world.build_errors:
                return None
            cache = vars(config).get("_cache")
            if cache is not None:
                cache.data = world.cache_of + b" measured"
            return plan(network.name)

    def plan(card: str) -> bytes:
        header = struct.pack("<I", 0x74727466) + bytes(20) + bytes(int(part) for part in version.split("."))
        return header.ljust(580, b"\0") + card.encode() + b"\x01\x80"

    class OnnxParser:
        num_errors = 0

        def __init__(self, network: Any, logger: Any) -> None:
            pass

        def parse_from_file(self, model: str) -> bool:
            world.calls.append(("parse_from_file", model))
            return True

    members = [ILogger, IBuilderConfig, Builder, OnnxParser, IOptimizationProfile, INetworkDefinition, ITimingCache]
    flags = {"EXPLICIT_BATCH": 0} | ({"STRONGLY_TYPED": 1} if major >= 10 else {})
    builder_flags = ["TF32"] + (["FP16", "INT8"] if major < 11 else [])
    if (major, minor) >= (8, 6):
        builder_flags += ["VERSION_COMPATIBLE", "EXCLUDE_LEAN_RUNTIME"]
        trt.HardwareCompatibilityLevel = SimpleNamespace(NONE="NONE", AMPERE_PLUS="AMPERE_PLUS")  # type: ignore[attr-defined]
    if major >= 10:
        members.append(IProgressMonitor)
    for member in members:
        setattr(trt, member.__name__, member)
    trt.NetworkDefinitionCreationFlag = SimpleNamespace(**flags)  # type: ignore[attr-defined]
    trt.BuilderFlag = SimpleNamespace(**{flag: flag for flag in builder_flags})  # type: ignore[attr-defined]
    trt.ProfilingVerbosity = SimpleNamespace(LAYER_NAMES_ONLY="LAYER_NAMES_ONLY", DETAILED="DETAILED")  # type: ignore[attr-defined]
    trt.MemoryPoolType = SimpleNamespace(WORKSPACE="WORKSPACE")  # type: ignore[attr-defined]
    trt.TacticSource = SimpleNamespace(CUBLAS=0, CUDNN=2, EDGE_MASK_CONVOLUTIONS=3, JIT_CONVOLUTIONS=4)  # type: ignore[attr-defined]
    trt.__version__ = version  # type: ignore[attr-defined]
    return trt
