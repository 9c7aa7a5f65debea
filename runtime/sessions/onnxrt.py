"""ONNX Runtime: the graph itself, on a CPU or through CUDA.

A graph is run at its card's precision: TF32 is off, so that float32 is float32.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from dlcv.runtime.card import ModelCard
from dlcv.runtime.card_reader import read_card
from dlcv.runtime.errors import EngineError, OutOfMemory, one_line
from dlcv.runtime.machine import cpu_count
from dlcv.runtime.sessions.base import Session, check_head

_LOG_FATAL = 4
CUDA_LANES = 2
"""Batches in flight on a GPU: one computes while the other is copied."""
CUDA_OPTIONS = {"use_tf32": "0"}
_OUT_OF_MEMORY = (
    "failed to allocate",
    "bad_alloc",
    "bad allocation",
    "out of memory",
    "alloc_failed",
    "memory allocation",
)
_TYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64"}


class OnnxSession(Session):
    """A graph in ONNX Runtime; see `open_onnx`."""

    def __init__(self, session: ort.InferenceSession, card: ModelCard, *, device: str, parallel: int) -> None:
        self.card, self.device, self.parallel = card, device, parallel
        self.description = f"ONNX Runtime {ort.__version__} on {device.upper()}"
        self._session: ort.InferenceSession | None = session
        self._names = [output.name for output in session.get_outputs()]

    def _run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        session = self._session
        if session is None:
            raise EngineError("the session is closed; open it again")
        try:
            return dict(zip(self._names, session.run(self._names, {"image": np.ascontiguousarray(images)})))
        except Exception as error:  # ONNX Runtime's exceptions share no base of their own
            kind = OutOfMemory if is_out_of_memory(error) else EngineError
            raise kind(f"ONNX Runtime failed on a batch of {len(images)}: {_reason(error)}") from error

    def close(self) -> None:
        super().close()
        self._session = None  # frees it once no other thread is inside `run`


def open_onnx(path: Path, data: bytes | None = None, *, device: str = "auto", lanes: int = 1) -> OnnxSession:
    """Opens a graph.

    Args:
        path: an `.onnx` with a model card.
        data: its bytes, where they were checked; then the file is not opened again.
        device: `cpu`, `cuda`, or `auto`.
        lanes: batches in flight on a CPU; the cores are divided among them.

    Raises:
        CardError: when the graph carries no card.
        EngineError: when ONNX Runtime refuses it, or `cuda` is asked for and is not to be had.
    """
    card = read_card(path, data)
    use_cuda = device == "cuda" or (device == "auto" and cuda_missing() is None)
    if device == "cuda" and (missing := cuda_missing()):
        raise EngineError(f"--device cuda: {missing}; run with --device cpu")
    options = ort.SessionOptions()
    options.log_severity_level = _LOG_FATAL  # what fails is raised, in one line
    options.intra_op_num_threads = max(1, cpu_count() // lanes)
    providers: list[Any] = ["CPUExecutionProvider"]
    if use_cuda:
        providers.insert(0, ("CUDAExecutionProvider", CUDA_OPTIONS))
    try:
        session = ort.InferenceSession(str(path) if data is None else data, options, providers=providers)
    except Exception as error:  # ONNX Runtime's exceptions share no base of their own
        raise EngineError(f"ONNX Runtime {ort.__version__} refuses {path}: {_reason(error)}") from error
    if use_cuda and "CUDAExecutionProvider" not in session.get_providers():
        raise EngineError(
            "ONNX Runtime's CUDA provider did not start (see its requirements on CUDA and cuDNN); run with --device cpu"
        )
    _check_graph(session, card, path)
    return OnnxSession(session, card, device="cuda" if use_cuda else "cpu", parallel=CUDA_LANES if use_cuda else lanes)


def cuda_missing() -> str | None:
    """Why ONNX Runtime cannot use CUDA here, in words; None when it may."""
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return "this build of ONNX Runtime has no CUDA provider (pip install onnxruntime-gpu)"
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "this machine has no NVIDIA driver (libcuda.so.1)"
    return None


def _check_graph(session: ort.InferenceSession, card: ModelCard, path: Path) -> None:
    """The graph must be what its card says: image uint8 (N, H, W, 3), and the head's outputs."""
    found = {node.name: (node.type, node.shape[1:]) for node in session.get_inputs()}
    expected = ("tensor(uint8)", [*card.input_size_hw, 3])
    if found.get("image") != expected or len(found) != 1:
        raise EngineError(
            f"{path}: expected one input, image uint8 (N, {card.input_size_hw[0]}, {card.input_size_hw[1]}, 3), got {found}; export it again"
        )
    outputs = {node.name: (_TYPES.get(node.type, node.type), node.shape[1:]) for node in session.get_outputs()}
    check_head(outputs, card, str(path))


def is_out_of_memory(error: Exception) -> bool:
    """Whether an exception of ONNX Runtime says that memory ran out: it has no type of its own for that."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(sign in words for sign in _OUT_OF_MEMORY)


def _reason(error: Exception) -> str:
    return one_line(str(error).strip())[:400]
