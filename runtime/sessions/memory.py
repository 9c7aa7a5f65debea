"""Whether a library's words mean that memory ran out: neither ONNX Runtime nor TensorRT has an error of its own for that."""

from __future__ import annotations

_SIGNS = (
    "failed to allocate",
    "could not be allocated",
    "bad_alloc",
    "bad allocation",
    "out of memory",
    "out_of_memory",
    "outofmemory",
    "alloc_failed",
    "memory allocation",
    "memoryallocation",
)


def says_out_of_memory(text: str) -> bool:
    """Whether an error's text says that memory ran out, on the GPU or the machine."""
    words = text.lower()
    return any(sign in words for sign in _SIGNS)
