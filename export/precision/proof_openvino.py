"""What OpenVINO runs of a graph in which precision: the part of the proof that a session gives, where OpenVINO is installed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from dlcv.export.verify import twin_session
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import EngineError, MissingPackageError, PrecisionError, VerdictError
from dlcv.runtime.machine import cpu_count
from dlcv.runtime.sessions.executed import Executed
from dlcv.runtime.sessions.openvino import check_openvino, open_openvino
from dlcv.runtime.sessions.wanted import Wanted

WINDOWS = 16
LEAST_ALIKE = 0.8
"""Of the classes. Rounding differs in up to 0.07 of the pixels of networks that are hardly trained; the fault that was seen, in 0.65 of the images."""


def executed_in_openvino(proto: onnx.ModelProto, card: ModelCard) -> Executed | None:
    """The operators of a graph as OpenVINO runs them here.

    Args:
        proto: the graph.
        card: the graph's; its precision is the claim.

    Returns:
        None where OpenVINO is not installed, the CPU does not compute in the precision, or OpenVINO does not know an operator: then
        nothing is proven by it, and nothing refuted.

    Raises:
        VerdictError: when OpenVINO runs the graph in another precision than the card says.
    """
    with tempfile.TemporaryDirectory(prefix="dlcv-proof.") as folder:
        wanted = Wanted(Path(folder) / "graph.onnx", "onnx", card)
        try:
            check_openvino(wanted)
        except (MissingPackageError, EngineError):
            return None
        wanted.path.write_bytes(proto.SerializeToString())
        try:
            with open_openvino(wanted) as session:
                return session.executed()
        except PrecisionError as error:
            text = str(error).replace(str(wanted.path), "the graph")
            raise VerdictError(f"{text}; no file was written") from error
        except EngineError:
            return None


def require_alike(proto: onnx.ModelProto, card: ModelCard, windows: Sequence[NDArray[np.uint8]]) -> None:
    """Sees to it that OpenVINO, where it runs a graph here as `dlcv-infer` would, says what the graph says.

    In which precision it runs does not tell that: several streams of int8 gave wrong answers in the right precision
    (benchmarks/results/sessions.md). A fault of a library is large; what rounding differs is left to the stages.

    Args:
        proto: the graph.
        card: the graph's.
        windows: each uint8 (H, W, 3), RGB; the first `WINDOWS` are asked about.

    Raises:
        VerdictError: when less than `LEAST_ALIKE` of the answers are the same.
    """
    asked = np.stack(windows[:WINDOWS])
    with tempfile.TemporaryDirectory(prefix="dlcv-alike.") as folder:
        wanted = Wanted(Path(folder) / "graph.onnx", "onnx", card, lanes=cpu_count())
        wanted.path.write_bytes(proto.SerializeToString())
        try:
            with open_openvino(wanted) as session:
                got = np.concatenate([session.run(asked[k : k + 1])[card.head] for k in range(len(asked))])
                by = session.description
        except (MissingPackageError, EngineError, PrecisionError):
            return  # it does not run there
    expected = twin_session(proto, card)[0].run([card.head], {"image": asked})[0]
    alike = float(np.mean(_classes(got, card) == _classes(expected, card)))
    if alike < LEAST_ALIKE:
        raise VerdictError(
            f"{by}, gives {alike:.3f} of the classes that the graph gives in ONNX Runtime, expected at least {LEAST_ALIKE}: it computes this graph "
            "wrongly here; try another release of it, or export with another --precision; no file was written"
        )


def _classes(answer: NDArray[Any], card: ModelCard) -> NDArray[Any]:
    return answer if card.head == "mask" else answer.argmax(1)


def with_executed(sentence: str, executed: Executed | None) -> str:
    """The line of proof on a card: what the graph proves, and what OpenVINO does."""
    return sentence if executed is None else f"{sentence}; {executed.sentence()}"
