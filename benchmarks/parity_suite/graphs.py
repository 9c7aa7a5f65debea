"""A model's graph in each precision, and the sessions that run it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dlcv.benchmarks.parity_suite.trained import Trained

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
CALIBRATION_TILES = 16


@dataclass(frozen=True)
class Way:
    """A session: library and device; `tensorrt` runs a plan, which is built first."""

    session: str
    device: str

    @property
    def label(self) -> str:
        """For the matrix."""
        return f"{self.session} on {self.device}"


CPU = (Way("onnxruntime", "cpu"), Way("openvino", "cpu"))
GPU = (Way("onnxruntime", "cuda"), Way("onnxruntime-tensorrt", "cuda"), Way("tensorrt", "cuda"))


def write_graph(trained: Trained, precision: str, folder: Path) -> Path:
    """The graph in a precision, with its card and the head `logits`.

    Raises:
        ExportError: when it cannot be made.
    """
    from dlcv.export.images import first_windows
    from dlcv.export.onnx_from_checkpoint import onnx_from_model, with_card
    from dlcv.export.precision.calibration import int8_from_onnx
    from dlcv.export.precision.cast import network_at

    card = trained.card.changed(precision=precision)
    if precision in ("fp16", "bf16"):
        proto = onnx_from_model(network_at(trained.network, precision, card.input_size_hw), card)
    else:
        proto = onnx_from_model(trained.network, trained.card)
    if precision == "int8":
        windows = first_windows(trained.calibration, card)[:CALIBRATION_TILES]
        proto = with_card(int8_from_onnx(proto, windows), card)
    path = folder / f"{card.model}-{precision}.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def file_for(way: Way, graph: Path) -> Path:
    """What a way opens: the graph, or the plan that is built of it.

    Raises:
        MissingPackageError, ExportError: when there is no builder, or it refuses the graph.
    """
    if way.session != "tensorrt":
        return graph
    from dlcv.export.builders.build import build_plan
    from dlcv.runtime.card_reader import read_card

    plan = graph.with_suffix(".plan")
    if not plan.exists():
        build_plan(graph, plan, card=read_card(graph))
    return plan
