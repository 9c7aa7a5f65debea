"""A model's graph in each precision, and the sessions that run it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dlcv.benchmarks.parity_suite.trained import Trained

PRECISIONS = ("fp32", "fp16", "bf16", "int8")


@dataclass(frozen=True)
class Way:
    """A session: library, device and what it is asked to compute in; `tensorrt` runs a plan, which is built first."""

    session: str
    device: str
    compute: str = "card"

    @property
    def label(self) -> str:
        """For the matrix."""
        asked = "" if self.compute == "card" else f", --compute {self.compute}"
        return f"{self.session} on {self.device}{asked}"

    def takes(self, precision: str) -> bool:
        """Whether it is of a graph of this precision: another one to compute in is asked for of a float32 graph alone."""
        return self.compute == "card" or precision == "fp32"


CPU = (Way("onnxruntime", "cpu"), Way("openvino", "cpu"), Way("openvino", "cpu", "bf16"))
GPU = (
    Way("onnxruntime", "cuda"), Way("onnxruntime", "cuda", "tf32"), Way("onnxruntime-tensorrt", "cuda"), Way("tensorrt", "cuda"),
)  # fmt: skip


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
        windows = first_windows(trained.calibration, card)
        proto = with_card(int8_from_onnx(proto, windows), card)
    path = folder / f"{trained.called}-{precision}.onnx"
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
    from dlcv.runtime.card.reader import read_card

    plan = graph.with_suffix(".plan")
    if not plan.exists():
        build_plan(graph, plan, card=read_card(graph))
    return plan
