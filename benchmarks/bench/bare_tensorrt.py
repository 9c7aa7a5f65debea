"""A TensorRT plan in the plain loop of NVIDIA's samples: one context, one stream, pinned buffers, copy, execute, copy, wait.

What our session adds to it (slots for two batches in flight, checks, errors in words) is what the ratio to this loop shows.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.benchmarks.bench.cuda_events import seconds_between_events
from dlcv.runtime.errors import EngineError
from dlcv.runtime.sessions import cuda
from dlcv.runtime.sessions.cuda_graph import Graph, GraphRecorder
from dlcv.runtime.sessions.trt import check_plan
from dlcv.runtime.sessions.trt_layers import INPUT
from dlcv.runtime.sessions.trt_layout import dtype_of


class TensorrtLoop:
    """A plan, deserialised; for use in `with`, by one thread."""

    def __init__(self, path: Path, data: bytes | None = None) -> None:
        _, library = check_plan(path)
        self._path, self._doing, self._trt = path, f"running {path} without dlcv", library.module
        self._shape: tuple[int, ...] = ()
        self._recorder = None if library.is_rtx else GraphRecorder()  # as the session: RTX compiles while it runs
        self._graph: Graph | None = None
        self._tried = False
        self._host: dict[str, cuda.PinnedBuffer] = {}
        self._device: dict[str, cuda.DeviceBuffer] = {}
        with cuda.primary_context(self._doing):
            self._runtime: Any = library.module.Runtime(library.log)
            self._engine: Any = self._runtime.deserialize_cuda_engine(path.read_bytes() if data is None else data)
            if self._engine is None:
                raise EngineError(f"{path} cannot be loaded: {library.log.last_error()}")
            self._context: Any = self._engine.create_execution_context()
            self._stream = cuda.Stream()

    def __enter__(self) -> TensorrtLoop:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with cuda.primary_context(self._doing):
            self._free()
            self._stream.free()
            self._context = self._engine = self._runtime = None

    def run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Host memory to host memory; what is returned is written over by the next call."""
        with cuda.primary_context(self._doing):
            self._prepare(images.shape)
            pinned = self._host[INPUT].first(len(images))
            pinned[:] = images
            self._stream.copy_to_device(self._device[INPUT], pinned)
            self._launch()
            answers = {name: buffer.first(len(images)) for name, buffer in self._host.items() if name != INPUT}
            for name, view in answers.items():
                self._stream.copy_to_host(view, self._device[name])
            self._stream.synchronize()
            return answers

    def device_seconds(self, images: NDArray[np.uint8]) -> float:
        """Of one batch of this shape, without copies, on whatever the device's memory holds.

        Launched as a CUDA graph where one can be recorded: started call by call, a small batch waits for the host between its
        kernels, and that is not the device's time.
        """
        with cuda.primary_context(self._doing):
            self._prepare(images.shape)
            if not self._tried:
                self._record()
            return seconds_between_events(self._stream, self._launch if self._graph is None else self._launch_graph)

    def _record(self) -> None:
        """After one batch call by call: what TensorRT does once a shape must not be recorded."""
        self._launch()
        self._stream.synchronize()
        self._tried = True
        if self._recorder is None:
            return
        self._graph = self._recorder.record(
            self._stream, lambda: "" if self._context.execute_async_v3(self._stream.handle) else "execute_async_v3"
        )
        if (
            self._graph is None
        ):  # CUDA's runtime may keep the failure as its last error, and would fail the next batch with it
            self._context.execute_async_v3(self._stream.handle)
            self._stream.synchronize()

    def _launch_graph(self) -> None:
        if self._graph is not None and (refused := self._graph.launch(self._stream)):
            raise EngineError(f"{self._doing} failed: a CUDA graph was refused: {refused}")

    def _launch(self) -> None:
        if not self._context.execute_async_v3(self._stream.handle):
            raise EngineError(f"{self._doing} failed: execute_async_v3 was refused")

    def _prepare(self, shape: tuple[int, ...]) -> None:
        """Buffers and addresses for a batch; once a shape."""
        if shape == self._shape:
            return
        self._free()
        if not self._context.set_input_shape(INPUT, shape):
            raise EngineError(f"{self._doing} failed: the plan refuses a batch of {shape[0]}")
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            dtype = dtype_of(self._engine, self._trt, name, self._path)
            own = shape if name == INPUT else (shape[0], *tuple(self._context.get_tensor_shape(name))[1:])
            self._host[name] = cuda.PinnedBuffer(own, dtype)
            self._device[name] = cuda.DeviceBuffer(int(np.prod(own)) * dtype.itemsize)
            self._context.set_tensor_address(name, self._device[name].address)
        self._shape = shape

    def _free(self) -> None:
        if self._graph is not None:
            self._graph.free()
        self._graph, self._tried = None, False
        for host in self._host.values():
            host.free()
        for device in self._device.values():
            device.free()
        self._host, self._device, self._shape = {}, {}, ()
