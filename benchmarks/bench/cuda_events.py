"""Time on the device alone: what lies between two CUDA events on a stream. The one file that measures with CUDA events."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.errors import EngineError
from dlcv.runtime.sessions import cuda

NOT_ON_A_CPU = "there are no CUDA events on a CPU, and no copies to a device either: host-to-host is the engine's time"


def seconds_between_events(stream: cuda.Stream, launch: Callable[[], None]) -> float:
    """Seconds that the device works on what `launch` starts on the stream. To be called inside `cuda.primary_context`."""
    start, end = cuda.Event(), cuda.Event()
    start.record(stream)
    launch()
    end.record(stream)
    return end.seconds_since(start)


class OnnxOnDevice:
    """A graph in ONNX Runtime's CUDA provider, on a stream of ours, with its input and outputs on the device.

    Args:
        source: path or bytes of the graph.
        options: of the CUDA provider.
    """

    def __init__(self, source: str | bytes, options: dict[str, str]) -> None:
        import onnxruntime as ort

        self._ort = ort
        self._doing = "measuring ONNX Runtime on the device"
        with cuda.primary_context(self._doing):
            self._stream = cuda.Stream()
            providers = [
                ("CUDAExecutionProvider", options | {"user_compute_stream": str(self._stream.handle)}),
                "CPUExecutionProvider",
            ]
            self._session: Any = ort.InferenceSession(source, providers=providers)
        if "CUDAExecutionProvider" not in self._session.get_providers():
            raise EngineError("ONNX Runtime's CUDA provider did not start")

    def __enter__(self) -> OnnxOnDevice:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session = None
        with cuda.primary_context(self._doing):
            self._stream.free()

    def seconds(self, images: NDArray[np.uint8]) -> float:
        """Of one batch, whose copy to the device is done before."""
        with cuda.primary_context(self._doing):
            binding = self._session.io_binding()
            binding.bind_ortvalue_input("image", self._ort.OrtValue.ortvalue_from_numpy(images, "cuda", 0))
            for output in self._session.get_outputs():
                binding.bind_output(output.name, "cuda")
            binding.synchronize_inputs()
            return seconds_between_events(self._stream, lambda: self._session.run_with_iobinding(binding))
