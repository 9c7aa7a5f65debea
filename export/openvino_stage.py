"""The stage that a CPU's own library adds: a graph in low precision as OpenVINO runs it here, which `dlcv-infer` takes where it is the fastest.

The gate judges the graph in ONNX Runtime. OpenVINO may merge the scales of what it joins, so that the answers of int8 differ by more than
rounding; that is measured and told.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dlcv.export.precision.low_precision import LowPrecision
from dlcv.export.stages import Stage, compare_stages
from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.errors import EngineError, MissingPackageError, PrecisionError
from dlcv.runtime.machine import cpu_count
from dlcv.runtime.scoring.comparison import MIN_AGREEMENT
from dlcv.runtime.sessions import open_session
from dlcv.runtime.sessions.base import Session


def openvino_stage(
    low: LowPrecision, reference: Session, labelled: LabelledSet[Any], max_drop: float, say: Callable[[str], None]
) -> Stage | None:
    """The graph in OpenVINO on this CPU against torch; a line says where it does not hold what the graph holds.

    Args:
        low: a graph that passed the gate.
        reference: torch in float32.
        labelled: the images that it was judged on.
        max_drop: how far mean IoU or accuracy may fall, 0..1.
        say: takes the line.

    Returns:
        None where OpenVINO does not run it here in its precision.

    Raises:
        DatasetError: when an image or its label cannot be read.
    """
    if low.executed is None or low.card.rest != "fp32":
        return None
    with tempfile.TemporaryDirectory(prefix="dlcv-openvino.") as folder:
        path = Path(folder) / "graph.onnx"
        path.write_bytes(low.proto.SerializeToString())
        try:
            session = open_session(path, device="cpu", session="openvino", lanes=cpu_count())
        except (MissingPackageError, PrecisionError, EngineError):
            return None
        with session:
            stage = compare_stages(reference, {"openvino": session}, labelled)["openvino"]
            by = session.description
    held_as = MIN_AGREEMENT[labelled.task][low.card.precision]
    if problems := stage.comparison.problems(max_drop=max_drop, min_agreement=held_as):
        say(
            f"{by}, is further from torch than the graph in ONNX Runtime, which holds: {'; '.join(problems)}; "
            "run it with --session onnxruntime, or take another --precision"
        )
    return stage
