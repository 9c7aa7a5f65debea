"""TensorRT plans: full TensorRT 8.6 to 11, its lean runtime and TensorRT-RTX, whichever the plan's header calls for.

Imports numpy, the TensorRT library and pycuda only, and the latter two on use. Of the execution context only
`set_input_shape`, `set_tensor_address` and `execute_async_v3` are called: they are the same from 8.6 to 11.

The first batch in a slot runs call by call, and is then recorded as a CUDA graph, which the following ones of its size launch. Buffers
stay where they are, so that the addresses in a graph stay right; but a context that is given another shape has another state, and the
graph is thrown away then (TensorRT's guide: one context a captured graph). A new size is recorded when it comes twice in a row, so that
sizes that alternate run call by call. What cannot be recorded runs so for good, and a notice says it.
TensorRT-RTX records graphs itself.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.card.plan_header import LABELS, TF32, Here, PlanHeader, preflight, read_plan_header, with_card
from dlcv.runtime.card.reader import read_card
from dlcv.runtime.errors import EngineError, OutOfMemory
from dlcv.runtime.sessions import cuda
from dlcv.runtime.sessions.base import Session
from dlcv.runtime.sessions.cuda_graph import Graph, GraphRecorder
from dlcv.runtime.sessions.executed import Executed, Operator
from dlcv.runtime.sessions.memory import says_out_of_memory
from dlcv.runtime.sessions.trt_layers import INPUT, UNKNOWN, inspected
from dlcv.runtime.sessions.trt_layout import Layout
from dlcv.runtime.sessions.trt_library import TrtLibrary, library_for
from dlcv.runtime.sessions.trt_rtx_cache import RuntimeCache
from dlcv.runtime.sessions.wanted import Wanted

Failed = Callable[..., EngineError]
"""`_failed` of a session: call, and why where TensorRT's log does not say -> the error to raise."""
SLOTS = 2
"""Batches in flight: one is copied while the other is computed."""


def check_wanted_plan(wanted: Wanted) -> None:
    """Nothing is known before a plan is opened: the preflight of `open_plan` looks at its header."""


def open_wanted_plan(wanted: Wanted) -> TrtSession:
    """See `open_plan`."""
    size_hw = wanted.card.input_size_hw if wanted.card.size_range else None
    return open_plan(wanted.path, wanted.data, host_code=wanted.host_code, window_hw=size_hw)


def open_plan(
    path: Path, data: bytes | None = None, *, host_code: bool = False, window_hw: tuple[int, int] | None = None,
    graphs: bool = True,
) -> TrtSession:  # fmt: skip
    """Opens a TensorRT plan.

    Args:
        path: of the plan.
        data: its bytes, where they were checked; then what TensorRT loads is these, and a runtime cache, which nothing
            vouches for, is neither read nor written.
        host_code: whether code for the CPU inside the plan may be run, as version-compatible plans carry it.
        window_hw: height and width to run it at, in pixels, where they vary; None takes the card's.
        graphs: whether CUDA graphs are recorded.

    Raises:
        PlanError: when the plan does not fit this machine: driver, version, GPU.
        MissingPackageError: when the library that runs it, or pycuda, is not installed.
        PrecisionError: when its layers run in another type than its card says, as far as TensorRT tells.
        EngineError, CardError: when the plan is damaged, carries no card, or is not a graph of this project.
        UsageError: when it does not run at that size.
    """
    header, library = check_plan(path)
    card = read_card(path, data).at_size(window_hw, str(path))
    return TrtSession(path, card, header, library, data, host_code, graphs)


def check_plan(path: Path) -> tuple[PlanHeader, TrtLibrary]:
    """Whether a plan fits this machine, from its first bytes and its card; and the library that runs it.

    Raises:
        PlanError, MissingPackageError, EngineError, CardError: as `open_plan`.
    """
    header = read_plan_header(path)  # before the card: a plan cut short has none
    card = read_card(path)
    header = with_card(header, card.versions)
    problem = cuda.driver_problem()
    library = None if problem else library_for(header.kind, lean_first=header.version_compatible)
    here = Here(
        problem, library.name if library else None, library.version if library else None,
        None if problem else cuda.gpu_name_and_capability(),
    )  # fmt: skip
    preflight(header, path, here, max_batch=card.max_batch)
    assert library is not None  # else preflight has raised
    return header, library


class TrtSession(Session):
    """A plan on the GPU; `run` may be called from any thread, and two batches are in flight at a time."""

    device = "cuda"
    parallel = SLOTS

    def __init__(
        self, path: Path, card: ModelCard, header: PlanHeader, library: TrtLibrary, data: bytes | None, host_code: bool,
        graphs: bool = True,
    ) -> None:  # fmt: skip
        self.card = card
        self.computes = "tf32" if card.precision == "fp32" and card.versions.get(TF32) else card.precision
        self._by = f"{LABELS[header.kind]} {library.version} on {cuda.gpu_name_and_capability()[0]}"
        self._graphs = GraphRecorder() if graphs and not library.is_rtx else None
        self._path, self._log, self._closed = path, library.log, False
        self._library = library
        self._slots: list[_Slot] = []
        self._free: SimpleQueue[_Slot | None] = SimpleQueue()
        self._runtime: Any = None
        self._engine: Any = None
        self._cache: RuntimeCache | None = None
        try:
            with cuda.primary_context(f"opening {path}"):
                self._open(library, data, host_code, graphs)
            self._require_precision()
        except BaseException:
            with suppress(EngineError):  # the first error is the one to tell
                self.close()
            raise
        recorded = self._cache.records_graphs if self._cache else self._graphs is not None and self._graphs.available
        self.description = f"{self._by}, in {self.computes}, {'with' if recorded else 'without'} CUDA graphs"

    @property
    def notices(self) -> list[str]:
        """That CUDA graphs could not be recorded, where they should have been; results are the same."""
        problem = "" if self._graphs is None else self._graphs.problem
        return [f"{self._path} runs without CUDA graphs: {problem}"] if problem else []

    def _open(self, library: TrtLibrary, data: bytes | None, host_code: bool, graphs: bool) -> None:
        self._log.clear()
        self._runtime = library.module.Runtime(self._log)
        if self._runtime is not None:
            if host_code:
                self._runtime.engine_host_code_allowed = True
            plan = self._path.read_bytes() if data is None else data
            self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            why = self._log.last_error()
            raise _error(f"{self._path} cannot be loaded: {_why_not(why)}", why)
        layout = Layout(self._engine, library.module, self.card, self._path)
        self.max_batch = layout.max_batch
        if library.is_rtx:
            self._cache = RuntimeCache(self._engine, self._path, library.module, graphs=graphs, kept=data is None)
        for _ in range(SLOTS):
            slot = _Slot(self._new_context(), layout, self._graphs)
            self._slots.append(slot)  # before it allocates, so that `close` frees what it got
            self._free.put(slot)
            slot.allocate()

    def _require_precision(self) -> None:
        """Refuses a plan whose layers run in another type than its card says, as far as TensorRT tells: most plans keep no details."""
        try:
            ran = self._inspected(self._slots[0])
        except (
            AttributeError,
            TypeError,
            RuntimeError,
        ):  # bindings that answer otherwise than those known prove nothing
            return
        if ran is not None:
            told = tuple(one for one in ran.operators if one.precision != UNKNOWN)
            if (
                self.card.versions.get(TF32) and self.computes != TF32
            ):  # of a low precision, what is beside it in float32
                told = tuple(replace(one, precision="fp32") if one.precision == "tf32" else one for one in told)
            replace(ran, operators=told).require(self.computes, str(self._path))

    def _new_context(self) -> Any:
        config = None if self._cache is None else self._cache.config
        context = (
            self._engine.create_execution_context() if config is None else self._engine.create_execution_context(config)
        )
        if context is None:
            why = self._log.last_error()
            raise _error(
                f"{self._path} cannot be prepared to run: {why}; free GPU memory or build it with a smaller --max-batch",
                why,
            )
        return context

    def _run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        slot = self._free.get()
        if slot is None:
            self._free.put(None)  # for the next one who asks
            raise EngineError(f"the session of {self._path} is closed; open it again")
        try:
            with cuda.primary_context(f"running {self._path}"):
                return slot.run(images, self._failed)
        finally:
            self._free.put(slot)

    def executed(self) -> Executed | None:
        """From TensorRT's inspector; None where the plan was built without its layers' details, or the library has no inspector."""
        if self._engine is None:
            return None
        slot = self._free.get()
        try:
            return None if slot is None else self._inspected(slot)  # None where it was closed meanwhile
        finally:
            self._free.put(slot)

    def _inspected(self, slot: _Slot) -> Executed | None:
        """`executed`, by a slot that nobody else uses meanwhile."""
        if not hasattr(self._engine, "create_engine_inspector"):
            return None
        with cuda.primary_context(f"inspecting {self._path}"):
            operators = slot.inspected(self._library, self._engine)
        return None if operators is None else Executed(self._by, operators)

    def _failed(self, call: str, why: str = "") -> EngineError:
        why = why or self._log.last_error()
        return _error(f"{self._path} failed to run: {call} was refused: {why}", why)

    def close(self) -> None:
        """Waits for batches in flight, then frees contexts and buffers, engine, runtime. May be called again."""
        if self._closed:
            return
        self._closed = True
        for _ in self._slots:
            self._free.get()
        self._free.put(None)
        if self._runtime is not None:
            with cuda.primary_context(f"closing {self._path}"):
                self._release()

    def _release(self) -> None:
        if self._cache is not None:
            self._cache.save()
        for slot in self._slots:
            slot.free()
        self._slots.clear()
        self._cache = None
        self._engine = None
        self._runtime = None


class _Slot:
    """An execution context, its stream and its buffers, for one batch at a time. Used inside the CUDA context only."""

    def __init__(self, context: Any, layout: Layout, recorder: GraphRecorder | None) -> None:
        self._context, self._layout, self._recorder = context, layout, recorder
        self._stream = cuda.Stream()
        self._host: dict[str, cuda.PinnedBuffer] = {}
        self._device: dict[str, cuda.DeviceBuffer] = {}
        self._graph: Graph | None = None
        self._rows: int | None = None  # that the context is prepared for, and the graph, where there is one

    def allocate(self) -> None:
        """Takes memory for the largest batch."""
        batch = self._layout.max_batch
        for name, (shape, dtype) in (
            {INPUT: (self._layout.image_shape, self._layout.image_dtype)} | self._layout.outputs
        ).items():
            self._host[name] = cuda.PinnedBuffer((batch, *shape), dtype)
            self._device[name] = cuda.DeviceBuffer(batch * int(np.prod(shape)) * dtype.itemsize)

    def run(self, images: NDArray[np.uint8], failed: Failed) -> dict[str, NDArray[Any]]:
        """Copies in, computes, copies out, waits; `failed(call)` gives the error for a call that TensorRT refuses."""
        count = len(images)
        rows = max(count, self._layout.min_batch)  # a plan of a fixed batch computes stale rows beside ours
        pinned = self._host[INPUT].first(rows)
        pinned[:count] = images
        self._stream.copy_to_device(self._device[INPUT], pinned)
        graph, worth_recording = (self._graph, True) if self._rows == rows else (None, self._rows is None)
        if graph is None:
            self._start(rows, failed)
        elif refused := graph.launch(self._stream):
            raise self._stopped(failed("a CUDA graph", refused))
        views = {name: self._host[name].first(rows) for name in self._layout.outputs}
        for name, view in views.items():
            self._stream.copy_to_host(view, self._device[name])
        self._stream.synchronize()
        outputs = {name: view[:count].copy() for name, view in views.items()}
        if graph is None and worth_recording:
            self._record()
        return outputs

    def _start(self, rows: int, failed: Failed) -> None:
        self._forget_graph()
        if not self._context.set_input_shape(INPUT, (rows, *self._layout.image_shape)):
            raise self._stopped(failed("set_input_shape"))
        for name, buffer in self._device.items():
            if not self._context.set_tensor_address(name, buffer.address):
                raise self._stopped(failed(f"set_tensor_address of {name}"))
        if not self._context.execute_async_v3(self._stream.handle):
            raise self._stopped(failed("execute_async_v3"))
        self._rows = rows

    def _forget_graph(self) -> None:
        """Before the context is given a shape."""
        self._rows = None
        if self._graph is not None:
            self._graph.free()
            self._graph = None

    def _record(self) -> None:
        """For the batches of this size that follow. One has just run: what TensorRT does once a shape must not be recorded."""
        if self._recorder is None:
            return
        tried = not self._recorder.problem
        graph = self._recorder.record(
            self._stream, lambda: "" if self._context.execute_async_v3(self._stream.handle) else "execute_async_v3"
        )
        if graph is not None:
            self._graph = graph
        elif tried:  # CUDA's runtime may keep the failure as its last error, and would fail the next batch with it
            self._context.execute_async_v3(self._stream.handle)
            self._stream.synchronize()

    def inspected(self, library: TrtLibrary, engine: Any) -> tuple[Operator, ...] | None:
        """The engine's layers; `run` sets the context's shape again."""
        self._forget_graph()
        shape = (self._layout.max_batch, *self._layout.image_shape)
        return inspected(library.module, engine, None if library.is_rtx else self._context, shape)

    def _stopped(self, error: EngineError) -> EngineError:
        self._stream.synchronize()  # the copy in may still read the pinned buffer that the next batch writes
        return error

    def free(self) -> None:
        self._forget_graph()  # before the context whose memory it uses
        self._context = None
        for device in self._device.values():
            device.free()
        for host in self._host.values():
            host.free()
        self._stream.free()


def _error(sentence: str, why: str) -> EngineError:
    """OutOfMemory where the library's reason says so, so that a smaller batch is tried."""
    return OutOfMemory(sentence) if says_out_of_memory(why) else EngineError(sentence)


def _why_not(message: str) -> str:
    """TensorRT's reason, and what to do about it."""
    squeezed = message.lower().replace(" ", "").replace("_", "")
    if "hostcode" in squeezed:  # a version-compatible plan carries a runtime of its own
        option = "pass --trust (in Python: open_session(plan, trust=Trust(host_code=True)))"
        return f"{message}; it holds code for the CPU: if you trust who built it, {option}"
    return f"{message}; export it again on this machine"
