"""The double of `libcuda.so.1`, as far as CUDA graphs go: C functions with the types of `cuda.h`, that record into a `World`.

It keeps the driver's rules: each call needs the context, what is started while a stream records does not run, waiting for such a stream
spoils the recording, a graph runs with the addresses and shapes of its recording, and nothing is launched that was destroyed.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trt_double import World

_HANDLE, _INTO = ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)
NAMES = {
    1: b"CUDA_ERROR_INVALID_VALUE", 2: b"CUDA_ERROR_OUT_OF_MEMORY", 201: b"CUDA_ERROR_INVALID_CONTEXT",
    900: b"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", 901: b"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
}  # fmt: skip


class LibCuda:
    """What `ctypes.CDLL("libcuda.so.1")` gives, but for its other functions.

    Attributes:
        code: what a refused call (`World.refuse`) returns.
        on_begin: called once a stream records.
        on_end: called once it does not any more.
        graphs: that are not destroyed: what was recorded, by handle; those that can be launched have an odd handle.
    """

    def __init__(self, world: World) -> None:
        self.world, self.code = world, 900
        self.on_begin: Callable[[], Any] = lambda: None
        self.on_end: Callable[[], Any] = lambda: None
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self._recording: dict[int, tuple[list[Any], list[Any]]] = {}
        self._made = 0
        for name, types in {
            "cuStreamBeginCapture_v2": (_HANDLE, ctypes.c_int), "cuStreamEndCapture": (_HANDLE, _INTO),
            "cuGraphInstantiateWithFlags": (_INTO, _HANDLE, ctypes.c_ulonglong), "cuGraphLaunch": (_HANDLE, _HANDLE),
            "cuGraphExecDestroy": (_HANDLE,), "cuGraphDestroy": (_HANDLE,),
            "cuGetErrorName": (ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)),
        }.items():  # fmt: skip
            setattr(self, name, ctypes.CFUNCTYPE(ctypes.c_int, *types)(self._noted(name)))

    def _noted(self, name: str) -> Callable[..., int]:
        work: Callable[..., int] = getattr(self, f"_{name}")

        def called(*arguments: Any) -> int:
            if name == "cuGetErrorName":
                return work(*arguments)
            if not self.world.stack:
                return 201
            plain = [argument for argument in arguments if isinstance(argument, int)]
            return work(*arguments) if self.world.note(name, *plain) else self._refused(name, *arguments)

        return called

    def _refused(self, name: str, *arguments: Any) -> int:
        if name == "cuStreamEndCapture":  # spoilt, and over all the same
            self._cuStreamEndCapture(arguments[0], None)
        return self.code

    def _cuGetErrorName(self, code: int, into: Any) -> int:
        if code not in NAMES:
            return 1
        into[0] = NAMES[code]
        return 0

    def _cuStreamBeginCapture_v2(self, stream: int, mode: int) -> int:
        if mode != 1:  # of this thread alone
            return 1
        owner, own = self.world.streams[stream], []  # type: Any, list[Any]
        self._recording[stream] = owner.pending, own
        owner.pending = own
        self.on_begin()
        return 0

    def _cuStreamEndCapture(self, stream: int, into: Any) -> int:
        if stream not in self._recording:
            return 1
        before, own = self._recording.pop(stream)
        whole = self.world.streams[stream].pending is own  # `synchronize` takes another list
        self.world.streams[stream].pending = before
        self.on_end()
        if not whole:
            return 901
        if into:
            into[0] = self._new(own, odd=False)
        return 0

    def _cuGraphInstantiateWithFlags(self, into: Any, graph: int, flags: int) -> int:
        into[0] = self._new(self.graphs[graph], odd=True)
        return 0

    def _cuGraphLaunch(self, graph: int, stream: int) -> int:
        if graph not in self.graphs or not graph % 2:
            return 1
        self.world.streams[stream].pending.extend(self.graphs[graph])
        return 0

    def _cuGraphExecDestroy(self, graph: int) -> int:
        return 0 if graph % 2 and self.graphs.pop(graph, None) is not None else 1

    def _cuGraphDestroy(self, graph: int) -> int:
        return 0 if not graph % 2 and self.graphs.pop(graph, None) is not None else 1

    def _new(self, steps: list[Any], odd: bool) -> int:
        self._made += 1
        handle = 0x7F00_0000_0000 + 2 * self._made + odd  # more than 32 bits, as real ones
        self.graphs[handle] = list(steps)
        return handle
