"""A low graph as OpenVINO runs it here: measured like any stage, and told where it does not hold what the graph holds."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

pytest.importorskip("openvino", reason="OpenVINO is not installed")

from dlcv.export.openvino_stage import openvino_stage
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.card.reader import read_card
from dlcv.runtime.datasets.masks.description import load_description
from dlcv.runtime.datasets.masks.pairs import find_pairs
from dlcv.runtime.datasets.masks.tiles import SegmentationSet
from dlcv.runtime.sessions import Session, open_session


class Apart(Session):
    """Says another class than a session in a quarter of the pixels."""

    def __init__(self, session: Session) -> None:
        self.card, self.description, self._session = session.card, "apart", session

    def _run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        mask = self._session.run(images)["mask"].copy()
        mask[:, : mask.shape[1] // 4] = (mask[:, : mask.shape[1] // 4] + 1) % len(self.card.classes)
        return {"mask": mask}


@pytest.fixture(scope="module")
def labelled(tiny_data: Path) -> SegmentationSet:
    description = load_description("deepglobe")
    return SegmentationSet(find_pairs(tiny_data, description), description)


def low_of(path: Path, **changed: Any) -> Any:
    card: ModelCard = read_card(path)
    return SimpleNamespace(**{"executed": object(), "card": card, "proto": onnx.load(path), **changed})


def test_what_holds_is_a_stage(tiny_onnx: Path, labelled: SegmentationSet) -> None:
    said: list[str] = []
    with open_session(tiny_onnx, device="cpu", session="onnxruntime") as reference:
        stage = openvino_stage(low_of(tiny_onnx), reference, labelled, 0.005, said.append)
    assert stage is not None and stage.comparison.agreement >= 0.9999
    assert said == []


def test_what_is_further_from_torch_is_told(tiny_onnx: Path, labelled: SegmentationSet) -> None:
    said: list[str] = []
    with open_session(tiny_onnx, device="cpu", session="onnxruntime") as session:
        stage = openvino_stage(low_of(tiny_onnx), Apart(session), labelled, 0.005, said.append)
    assert stage is not None and stage.comparison.agreement == pytest.approx(0.75)
    (line,) = said
    assert (
        line.startswith("OpenVINO ") and "is further from torch than the graph in ONNX Runtime, which holds: " in line
    )
    assert "argmax agreement 0.75" in line and line.endswith(
        "run it with --session onnxruntime, or take another --precision"
    )


def test_what_it_does_not_run_or_is_for_tensorrt_is_no_stage(tiny_onnx: Path, labelled: SegmentationSet) -> None:
    with open_session(tiny_onnx, device="cpu", session="onnxruntime") as reference:
        assert openvino_stage(low_of(tiny_onnx, executed=None), reference, labelled, 0.005, print) is None
        low = low_of(tiny_onnx, card=read_card(tiny_onnx).changed(precision="int8", rest="fp16"))
        assert openvino_stage(low, reference, labelled, 0.005, print) is None
