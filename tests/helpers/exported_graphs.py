"""torch's exporter translates a program that it has traced to ONNX; here each program is translated once for all processes of a run of tests.

Every export traces its network anew, a quarter of its time, and what was traced is the key: operators, shapes, every weight's bytes, ranges and
options. All else that an export does on the way is torch's own, and gives the same graph for the same program; what is ours begins after it.
"""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any


class _Translated(BaseException):
    """Leaves the exporter, which goes on after every `Exception`."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path


def translate_once(folder: Path) -> None:
    """From now on, in this process and its forks; `folder` takes the graphs, and other processes may share it."""
    import torch

    real: Any = torch.onnx.export
    if hasattr(real, "__wrapped__"):
        return

    @functools.wraps(real)
    def export(*args: Any, **options: Any) -> Any:
        paths: list[Path] = []
        trace = torch.export.export

        def traced(*what: Any, **how: Any) -> Any:
            program = trace(*what, **how)
            paths.append(folder / f"{key_of(program, options)}.onnx")
            if paths[-1].exists():
                raise _Translated(paths[-1])
            return program

        try:
            torch.export.export = traced
            result = real(*args, **options)
        except _Translated as found:
            return SimpleNamespace(model_proto=_load(found.path))
        finally:
            torch.export.export = trace
        if len(paths) == 1 and result is not None:
            _keep(paths[0], result.model_proto.SerializeToString())
        return result

    torch.onnx.export = export


def key_of(program: Any, options: dict[str, Any]) -> str:
    """Of what was traced, with all that the translation reads of it."""
    import torch

    digest = hashlib.sha256(repr(sorted((name, str(value)) for name, value in options.items())).encode())
    for node in program.graph.nodes:
        facts = (node.op, node.name, str(node.target), node.args, node.kwargs)
        seen = (node.meta.get("val"), node.meta.get("nn_module_stack"))
        digest.update(repr((facts, seen)).encode())
    digest.update(f"{program.graph_signature}{program.range_constraints}{program.example_inputs}".encode())
    for name, tensor in sorted({**program.state_dict, **program.constants}.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} {tensor.stride()}".encode())
        raw = tensor.detach().contiguous().reshape(-1).view(torch.uint8)  # NumPy has no bfloat16
        digest.update(raw.numpy().tobytes())
    return digest.hexdigest()


def _load(path: Path) -> Any:
    import onnx

    return onnx.load(path)


def _keep(path: Path, graph: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(f".{os.getpid()}")
    half.write_bytes(graph)
    half.replace(path)
