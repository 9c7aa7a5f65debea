"""Why a build failed and what to do, from what TensorRT logged."""

from __future__ import annotations

from collections.abc import Sequence

from dlcv.export.builders.options import BuildOptions

_MEMORY = (
    "out of memory",
    "outofmemory",
    "could not be allocated",
    "bad_alloc",
    "insufficient memory",
    "cudaerrormemoryallocation",
)
_WORKSPACE = ("workspace",)  # fmt: skip
"""TensorRT: "insufficient workspace"; TensorRT-RTX: "no tactics to implement the operation within workspace limit"."""


def remedy(errors: Sequence[str], options: BuildOptions, *, sizes: bool = False, held: bool = False) -> str:
    """What to do about a build that failed.

    Args:
        errors: TensorRT's messages; what ran out is often told before the last.
        options: of the build.
        sizes: whether height and width vary.
        held: whether layers were held to types: then one of them may have no kernel in its own.
    """
    text = " ".join(errors).lower()
    smaller = f"a smaller --max-batch than {options.max_batch}" if options.max_batch > 1 else ""
    smaller = " and ".join(filter(None, (smaller, "smaller sizes in --dynamic-size" if sizes else "")))
    if any(word in text for word in _WORKSPACE):
        if options.workspace_mib is not None:
            return f"pass more than --workspace-mib {options.workspace_mib}, or leave it out"
        return f"pass {smaller}" if smaller else "free memory on the GPU"
    if any(word in text for word in _MEMORY):
        less = f"pass {smaller}, or " if smaller else ""
        return f"memory ran out: close other programs on the GPU, {less}bound TensorRT's scratch memory with --workspace-mib"
    return "export it with --precision fp32, or build with TensorRT 10 or newer" if held else "export the graph again"


def reason(errors: Sequence[str]) -> str:
    """TensorRT's last message, and the one about memory before it, if it is another."""
    if not errors:
        return "TensorRT gave no reason"
    about_memory = [error for error in errors if any(word in error.lower() for word in _MEMORY)]
    return errors[-1] if not about_memory or about_memory[-1] == errors[-1] else f"{about_memory[-1]}; {errors[-1]}"
