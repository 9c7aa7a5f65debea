"""What ONNX Runtime makes of a graph on a CPU, read back: the graph that it runs, and the types of its operators."""

from __future__ import annotations

from collections import Counter

import onnx
import onnxruntime as ort

from dlcv.runtime.errors import ExportError, one_line
from dlcv.runtime.sessions.onnxrt_graph import (
    FLOAT_OPERATORS,
    INT8_OPERATORS,
    Graph,
    float_type,
    optimised_path,
    read_graph,
)


def optimised_graph(proto: onnx.ModelProto) -> Graph | None:
    """The graph that ONNX Runtime runs on a CPU; None where it does not take it.

    Raises:
        ExportError: when ONNX Runtime refuses the graph for another reason than an operator that it does not have.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    with optimised_path(options) as path:
        try:
            ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions share no base of their own
            if "NOT_IMPLEMENTED" in str(error) or "INVALID_GRAPH" in str(error):
                return None
            raise ExportError(f"ONNX Runtime {ort.__version__} refuses the graph: {one_line(error)[:400]}") from error
        return read_graph(path)


def operators_of(optimised: Graph | None) -> dict[str, int] | None:
    """How many operators with multiply-adds a graph of ONNX Runtime's has, by name and type, such as `{"QLinearConv int8": 20, "Gemm fp32": 1}`.

    None where there is no graph.
    """
    if optimised is None:
        return None
    found: Counter[str] = Counter()
    for node in optimised.nodes:
        if node.operator in INT8_OPERATORS:
            found[f"{node.operator} int8"] += 1
        elif node.operator in FLOAT_OPERATORS:
            found[f"{node.operator} {float_type(node, optimised)}"] += 1
    return dict(found)
