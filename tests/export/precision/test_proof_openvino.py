"""What OpenVINO adds to a proof, and a claim that it refutes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from dlcv.export.onnx_from_checkpoint import with_card
from dlcv.export.precision import proof_openvino
from dlcv.export.precision.calibration import int8_from_onnx
from dlcv.export.precision.proof_openvino import executed_in_openvino, require_alike, with_executed
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import MissingPackageError, VerdictError
from dlcv.runtime.sessions.executed import Executed, Operator
from dlcv.runtime.sessions.openvino import open_openvino

pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
GraphOf = Callable[[str], onnx.ModelProto]
CardOf = Callable[[str], ModelCard]


def test_int8_is_run_in_int8_but_for_what_openvino_leaves(graph_of: GraphOf, card_of: CardOf, tiny_scenes: list[Any]) -> None:  # fmt: skip
    proto = int8_from_onnx(graph_of("mask"), tiny_scenes[:2], "min-max")
    ran = executed_in_openvino(proto, card_of("mask").changed(precision="int8"))
    assert ran is not None
    assert ran.share("int8") >= 0.5 and set(ran.multiply_adds) <= {"int8", "fp32"}
    assert with_executed("all of it", ran).startswith("all of it; OpenVINO 20")


def test_an_int8_label_on_a_float32_graph_is_refuted(graph_of: GraphOf, card_of: CardOf) -> None:
    with pytest.raises(VerdictError, match=r"^the graph is to be computed in int8, and OpenVINO \S+ on CPU runs 0\.0% of the multiply-adds in int8, expected at least 50%; no file was written$"):  # fmt: skip
        executed_in_openvino(graph_of("mask"), card_of("mask").changed(precision="int8"))


def test_where_it_cannot_be_asked_nothing_is_proven(graph_of: GraphOf, card_of: CardOf, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    def missing(wanted: Any) -> None:
        raise MissingPackageError("openvino", "x", "y")

    monkeypatch.setattr(proof_openvino, "check_openvino", missing)
    assert executed_in_openvino(graph_of("mask"), card_of("mask")) is None
    assert with_executed("all of it", None) == "all of it"


def test_answers_that_are_not_the_graphs_are_refused(graph_of: GraphOf, card_of: CardOf, tiny_scenes: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """In the right precision, and wrong: as a session that sees the images inverted."""
    card, windows = card_of("mask").changed(precision="int8"), tiny_scenes
    proto = with_card(int8_from_onnx(graph_of("mask"), tiny_scenes[:2], "min-max"), card)
    require_alike(proto, card, windows)

    def inverted(wanted: Any) -> Any:
        session = open_openvino(wanted)
        run = session._run
        monkeypatch.setattr(session, "_run", lambda images: run(255 - images))
        return session

    monkeypatch.setattr(proof_openvino, "open_openvino", inverted)
    with pytest.raises(VerdictError, match=r"^OpenVINO \S+ on CPU, in int8, gives 0\.\d+ of the classes that the graph gives in ONNX Runtime, expected at least 0\.8: .*; no file was written$"):  # fmt: skip
        require_alike(proto, card, windows)


def test_an_operator_that_it_does_not_know_refutes_nothing(graph_of: GraphOf, card_of: CardOf) -> None:
    proto = graph_of("mask")
    proto.graph.node[0].op_type = "NoSuchOperator"
    assert executed_in_openvino(proto, card_of("mask")) is None


def test_the_sidecar_holds_the_shares() -> None:
    ran = Executed("Lib", (Operator("a", "Convolution", "int8", 3), Operator("b", "MatMul", "fp32", 1)))
    assert ran.to_dict()["multiply_adds"] == {"int8": 3, "fp32": 1}
    assert ran.sentence() == "Lib runs 75.0% in int8, 25.0% in fp32"


def test_an_export_names_the_session_that_proved_it(export: Any, tiny_classifier: Callable[[int], Path], tmp_path: Path) -> None:  # fmt: skip
    import json

    from dlcv.runtime.card.reader import read_card

    result = export("--model", "cnn3", "--checkpoint", tiny_classifier(0), "--precision", "int8", "--format", "onnx", "--output", tmp_path, "--max-drop", 0.1)  # fmt: skip
    assert result.exit_code == 0, result.stderr
    card, facts = read_card(tmp_path / "cnn3.onnx"), json.loads((tmp_path / "cnn3.json").read_text())
    assert card.proof == facts["proof"]["sentence"]
    assert "; OpenVINO 20" in card.proof and "% in int8" in card.proof
    assert facts["proof"]["executed"]["multiply_adds"]["int8"] > 0
