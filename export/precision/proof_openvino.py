"""What OpenVINO runs of a graph in which precision: the part of the proof that a session gives, where OpenVINO is installed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx

from dlcv.runtime.card import ModelCard
from dlcv.runtime.errors import EngineError, MissingPackageError, PrecisionError, VerdictError
from dlcv.runtime.sessions.executed import Executed
from dlcv.runtime.sessions.openvino import check_openvino, open_openvino
from dlcv.runtime.sessions.wanted import Wanted


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


def with_executed(sentence: str, executed: Executed | None) -> str:
    """The line of proof on a card: what the graph proves, and what OpenVINO does."""
    return sentence if executed is None else f"{sentence}; {executed.sentence()}"
