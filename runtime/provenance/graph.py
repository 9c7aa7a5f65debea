"""What a graph would pull in from outside itself: weights in other files, and operators that only a library knows.

Read with dlcv's own bounded reader, before ONNX Runtime or TensorRT see the file.
"""

from __future__ import annotations

from pathlib import Path

from dlcv.runtime.errors import EngineError, one_line
from dlcv.runtime.graphs.onnx_graph import OnnxGraph, read_onnx_graph

KNOWN_DOMAINS = frozenset(
    {"", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training", "com.microsoft", "trt.plugins"}
)
"""Whose operators a library has without loading another: ONNX's own, ONNX Runtime's, and TensorRT's."""


def check_graph(path: Path, data: bytes | None = None, *, alone: bool = False) -> None:
    """Refuses a graph that needs what lies outside it.

    Args:
        path: of the `.onnx`.
        data: its bytes where a hash or a signature covers them; then weights in other files are refused altogether, because
            neither covers these.
        alone: refuses weights in other files too; of a plan that is built from it, only the graph's own hash is kept.

    Raises:
        EngineError: when it is no ONNX file, or needs a file or a library that it must not.
    """
    graph = read_onnx_graph(path, data)
    _check_operators(path, graph)
    for location in sorted(set(graph.external_files)):
        if data is not None:
            raise EngineError(
                f"{path} keeps weights in {one_line(location)!r}, which neither the hash nor the signature covers; "
                "export it again: dlcv-export writes one file"
            )
        if alone:
            raise EngineError(
                f"{path} keeps weights in {one_line(location)!r}, and a plan is built from one file, whose hash it keeps; "
                "export the model again: dlcv-export writes one file"
            )
        _check_location(path, location)


def _check_location(path: Path, location: str) -> None:
    """A link may not lead outside either. ONNX Runtime 1.31 refuses the same; not every release and library does."""
    folder = path.parent.resolve()
    try:
        inside = bool(location) and "\ufffd" not in location and (folder / location).resolve().is_relative_to(folder)
    except (OSError, ValueError, RuntimeError):  # a NUL, a name too long, links in a circle
        inside = False
    if not inside or Path(location).is_absolute():
        raise EngineError(
            f"{path} asks for weights in {one_line(location)!r}, outside its own folder; it is not of dlcv-export, "
            "which writes one file: do not use it, or export the model again"
        )


def _check_operators(path: Path, graph: OnnxGraph) -> None:
    foreign = {domain: names for domain, names in graph.domains.items() if domain not in KNOWN_DOMAINS}
    if foreign:
        listed = ", ".join(f"{one_line(domain)} ({', '.join(map(one_line, sorted(foreign[domain])[:5]))})" for domain in sorted(foreign)[:5])  # fmt: skip
        raise EngineError(
            f"{path} needs operators that no library here has: {listed}; dlcv loads no operator libraries: "
            "export the model with operators of ONNX"
        )
