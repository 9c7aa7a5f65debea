"""A model's graph in each precision, and the sessions that run it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dlcv.benchmarks.parity_suite.trained import Trained

if TYPE_CHECKING:
    import onnx

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
MAX_DROP = {"fp32": 0.005, "fp16": 0.01, "bf16": 0.02, "int8": 0.03}
"""How far mean IoU or accuracy may fall: a narrow network of seconds of training is nearer to its boundaries than one of hours,
and an image of 48 is 0.02 of accuracy; what is held is that nothing breaks, not what a model loses."""


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
    """The graph in a precision, with its card and the head `logits`; int8 as `dlcv-export` makes it, with the layers put back that lose too much.

    Raises:
        ExportError: when it cannot be made.
        VerdictError: when the exporter refuses it.
    """
    from dlcv.export.onnx_from_checkpoint import onnx_from_model
    from dlcv.export.precision.cast import network_at

    card = trained.card.changed(precision=precision)
    if precision in ("fp16", "bf16"):
        proto = onnx_from_model(network_at(trained.network, precision, card.input_size_hw), card)
    else:
        proto = onnx_from_model(trained.network, trained.card)
    if precision == "int8":
        proto = _in_int8(trained, proto)
    path = folder / f"{trained.called}-{precision}.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def _in_int8(trained: Trained, proto: onnx.ModelProto) -> onnx.ModelProto:
    """The graph that `dlcv-export --precision int8` gives of a float32 one, judged on the images of the matrix."""
    import torch

    from dlcv.export.images import VERIFY_IMAGES, first_windows
    from dlcv.export.precision.calibration import calibration_tiles
    from dlcv.export.precision.low_precision import Given, PrecisionSettings, low_precision
    from dlcv.export.stages import RememberingSession
    from dlcv.train.checkpoints.session import TorchSession

    card, labelled = trained.card, trained.labelled
    session = RememberingSession(TorchSession(trained.network, card, torch.device("cpu")))
    windows = first_windows(labelled.evenly(VERIFY_IMAGES[card.task]), card)
    settings = PrecisionSettings("int8", max_drop=MAX_DROP["int8"])
    tiles = calibration_tiles(None, settings.calibration_tiles, card, trained.calibration)
    given = Given(trained.network, proto, card, session, labelled, windows)
    return low_precision(given, settings, tiles, lambda _: None).proto


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
