"""CUDA graphs, through the driver itself: what is started on a stream is recorded once, and launched as one from then on.

pycuda (2026.1) has neither capture nor graphs; `libcuda.so.1` has both since CUDA 11.4 (driver 470), under the names and with the
types of `cuda.h` that stand in `CALLS`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from dlcv.runtime.sessions.cuda import LIBRARY, Stream

_HANDLE, _INTO = ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)
CALLS: dict[str, tuple[Any, ...]] = {
    "cuStreamBeginCapture_v2": (_HANDLE, ctypes.c_int),
    "cuStreamEndCapture": (_HANDLE, _INTO),
    "cuGraphInstantiateWithFlags": (_INTO, _HANDLE, ctypes.c_ulonglong),
    "cuGraphLaunch": (_HANDLE, _HANDLE),
    "cuGraphExecDestroy": (_HANDLE,),
    "cuGraphDestroy": (_HANDLE,),
    "cuGetErrorName": (ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)),
}
"""The driver's functions that are called, each with its arguments; all return an error's number."""
_THREAD_LOCAL = 1
"""CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may allocate meanwhile, as ONNX Runtime and torch do."""


class NotRecorded(Exception):
    """A graph could not be recorded; why, in words. The stream is as it was before."""


class Graph:
    """What was recorded on a stream; its addresses and shapes are those of then. Inside `primary_context` only."""

    def __init__(self, driver: GraphDriver, handle: int) -> None:
        self._driver, self._handle = driver, handle

    def launch(self, stream: Stream) -> str:
        """Starts it on the stream; what the driver says where it refuses, else empty."""
        return self._driver.refused("cuGraphLaunch", self._handle, stream.handle)

    def free(self) -> None:
        """May be called again."""
        handle, self._handle = self._handle, 0
        if handle:
            self._driver.refused("cuGraphExecDestroy", handle)


class GraphDriver:
    """The functions of `CALLS` in a loaded driver; raises AttributeError where it is older and lacks one."""

    def __init__(self, library: Any) -> None:
        self._functions = {name: getattr(library, name) for name in CALLS}
        for name, types in CALLS.items():
            self._functions[name].argtypes, self._functions[name].restype = types, ctypes.c_int

    def refused(self, name: str, *arguments: Any) -> str:
        """Calls one; empty, or its name with the error's, such as `cuGraphLaunch: CUDA_ERROR_OUT_OF_MEMORY`."""
        code = self._functions[name](*arguments)
        if not code:
            return ""
        text = ctypes.c_char_p()
        self._functions["cuGetErrorName"](code, ctypes.byref(text))
        return f"{name}: {text.value.decode() if text.value else f'error {code}'}"

    def record(self, stream: Stream, start: Callable[[], str]) -> Graph:
        """Records what `start` starts on the stream, which does not run.

        Args:
            stream: with nothing under way.
            start: starts work on the stream alone; returns what was refused, empty where nothing was.

        Raises:
            NotRecorded: where it starts something that a graph cannot hold, or memory is short.
        """
        graph = ctypes.c_void_p()
        if problem := self.refused("cuStreamBeginCapture_v2", stream.handle, _THREAD_LOCAL):
            raise NotRecorded(problem)
        try:
            try:
                problem = start()
            finally:  # always: a stream that goes on recording would run nothing any more
                ended = self.refused("cuStreamEndCapture", stream.handle, ctypes.byref(graph))
            if problem or ended or not graph.value:
                raise NotRecorded(problem or ended or "nothing was recorded")
            return self._runnable(graph.value)
        finally:
            if graph.value:
                self.refused("cuGraphDestroy", graph.value)

    def _runnable(self, graph: int) -> Graph:
        runnable = ctypes.c_void_p()
        problem = self.refused("cuGraphInstantiateWithFlags", ctypes.byref(runnable), graph, 0)
        if problem or not runnable.value:
            raise NotRecorded(problem or "cuGraphInstantiateWithFlags gave nothing")
        return Graph(self, runnable.value)


class GraphRecorder:
    """Records graphs for a session's slots until the first that cannot be recorded.

    Attributes:
        problem: why no more are recorded; empty while they are.
    """

    def __init__(self) -> None:
        self.problem = ""
        self._driver: GraphDriver | None = None
        try:
            self._driver = GraphDriver(load_driver())
        except (OSError, AttributeError) as error:
            self.problem = f"the driver has no graphs ({' '.join(str(error).split())})"

    @property
    def available(self) -> bool:
        """Whether the driver has graphs, whatever became of recording them."""
        return self._driver is not None

    def record(self, stream: Stream, start: Callable[[], str]) -> Graph | None:
        """See `GraphDriver.record`; None where it cannot be recorded, and from then on."""
        if self._driver is None or self.problem:
            return None
        try:
            return self._driver.record(stream, start)
        except NotRecorded as error:
            self.problem = str(error)
            return None


def load_driver() -> Any:
    """`libcuda.so.1`, with functions of its own: their types are set once a `GraphDriver`. Raises OSError without it."""
    return ctypes.CDLL(LIBRARY)
