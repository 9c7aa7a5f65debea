"""What each stage's row holds: NaN and Inf told apart, each class's difference, and why a stage did not run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dlcv.export.stages import RememberingSession, compare_stages, plan_stage, stage_table
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.datasets.masks.description import load_description
from dlcv.runtime.datasets.masks.pairs import find_pairs
from dlcv.runtime.datasets.masks.tiles import SegmentationSet
from dlcv.runtime.sessions.base import Session
from dlcv.train.checkpoints.session import TorchSession


class Faulty(Session):
    """Torch's answers with three NaN and two infinite logits, and class 0 in the first row of the mask."""

    def __init__(self, session: Session) -> None:
        self.card, self.description, self._session = session.card, "faulty", session

    def _run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        found = {name: array.copy() for name, array in self._session.run(images).items()}
        found["logits"][0].flat[:5] = [np.nan, np.nan, np.nan, np.inf, -np.inf]
        found["mask"][:, 0] = 0
        return found


@pytest.fixture
def labelled(tiny_data: Path) -> SegmentationSet:
    description = load_description("deepglobe")
    return SegmentationSet(find_pairs(tiny_data, description), description)


def test_a_stage_counts_nan_and_inf_and_gives_each_class_its_difference(torch_session: TorchSession, labelled: SegmentationSet) -> None:  # fmt: skip
    found = compare_stages(torch_session, {"good": torch_session, "bad": Faulty(torch_session)}, labelled)
    assert (found["good"].nan, found["good"].infinite, found["good"].comparison.agreement) == (0, 0, 1.0)
    bad = found["bad"]
    assert (bad.nan, bad.infinite) == (3 * 6, 2 * 6)
    facts = bad.to_dict()
    assert facts["ran"] and facts["nan"] == 18
    for entry in facts["iou"].values():
        if entry["difference"] is not None:
            assert entry["difference"] == pytest.approx(entry["candidate"] - entry["reference"])
    worst = bad.worst_class()
    assert worst is not None and worst[1] == min(e["difference"] for e in facts["iou"].values() if e["difference"] is not None) < 0  # fmt: skip
    table = stage_table({**found, "plan": "no GPU"})
    assert table[0].split()[:4] == ["stage", "mean", "IoU", "agreement"]
    assert table[1].startswith("torch fp32")
    assert table[3].split()[-4:] == ["18", "12", worst[0], f"{worst[1]:+.4f}"]
    assert table[4] == "plan        did not run here: no GPU"


def test_a_plan_that_cannot_run_says_why(
    tmp_path: Path, torch_session: TorchSession, labelled: SegmentationSet
) -> None:
    (tmp_path / "x.plan").write_bytes(b"no plan")
    found = plan_stage(tmp_path / "x.plan", torch_session, labelled)
    assert isinstance(found, str) and "x.plan" in found


def test_torch_is_asked_once_for_a_batch(torch_session: TorchSession, tiny_scenes: list[Any]) -> None:
    asked = []

    class Counting(Session):
        card: ModelCard = torch_session.card
        description = "counts"

        def _run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
            asked.append(len(images))
            return torch_session.run(images)

    batch, forgetful = np.stack(tiny_scenes[:2]), RememberingSession(Counting(), most_bytes=10)
    remembering = RememberingSession(Counting())
    first, again = remembering.run(batch), remembering.run(batch)
    assert asked == [2] and np.array_equal(first["logits"], again["logits"])
    remembering.run(batch[:1])
    assert asked == [2, 1]
    forgetful.run(batch)
    forgetful.run(batch)
    assert asked == [2, 1, 2, 2]
