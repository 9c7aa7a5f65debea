"""Comparison of two sides, on masks small enough to check by eye."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from dlcv.runtime.comparison import Comparing, Comparison
from dlcv.runtime.errors import VerdictError

LABEL = np.array([[0, 0, 0, 0], [1, 1, 2, 2]], np.uint8)


def changed(mask: NDArray[np.uint8], **cells: int) -> NDArray[np.uint8]:
    """`mask` with cells such as r0c1=2 changed."""
    copy = mask.copy()
    for cell, value in cells.items():
        copy[int(cell[1]), int(cell[3])] = value
    return copy


def compare(reference: NDArray[np.uint8], candidate: NDArray[np.uint8], tiles: int = 1) -> Comparison:
    comparing = Comparing(("a", "b", "c"), ())
    for _ in range(tiles):
        comparing.add(LABEL, reference, candidate)
    return comparing.result()


def test_equal_sides_pass() -> None:
    result = compare(LABEL, LABEL, tiles=2)
    assert (result.tiles, result.agreement, result.drop, result.reference.mean_iou) == (2, 1.0, 0.0, 1.0)
    assert result.problems(max_drop=0, min_agreement=1) == []
    result.require(max_drop=0, min_agreement=1)


def test_the_numbers_by_hand() -> None:
    result = compare(LABEL, changed(LABEL, r0c0=1))
    # a: 3 of 4 hit, union 4; b: 2 hit, union 3; c: 2 of 2
    assert result.candidate.iou == pytest.approx((3 / 4, 2 / 3, 1))
    assert result.drop == pytest.approx(1 - (3 / 4 + 2 / 3 + 1) / 3)
    assert result.agreement == 7 / 8


def test_a_drop_is_a_problem_and_a_rise_is_none() -> None:
    worse = changed(LABEL, r0c0=1)
    with pytest.raises(
        VerdictError,
        match=r"^parity failed: mean IoU falls by 0\.1944, from 1\.0000 to 0\.8056; allowed is 0\.005; argmax",
    ):
        compare(LABEL, worse).require(max_drop=0.005, min_agreement=0.9)
    assert compare(LABEL, worse).problems(max_drop=0.2, min_agreement=0.8) == []
    better = compare(worse, LABEL)
    assert better.drop < 0
    assert better.problems(max_drop=0, min_agreement=0.8) == []


def test_agreement_is_held_even_where_the_mean_iou_does_not_fall() -> None:
    result = compare(changed(LABEL, r0c0=1), changed(LABEL, r0c1=1))
    assert result.drop == pytest.approx(0)
    assert result.problems(max_drop=0.005, min_agreement=0.9999) == ["argmax agreement 0.750000 is below 0.9999"]


def test_no_tile_is_nothing_to_compare() -> None:
    result = Comparing(("a", "b"), ()).result()
    assert result.problems(max_drop=1, min_agreement=0) == ["nothing to compare: no tile was compared"]
    with pytest.raises(VerdictError, match="nothing to compare: no tile was compared"):
        result.require(max_drop=1, min_agreement=0)
    assert "NaN" not in json.dumps(result.to_dict())
    assert result.to_dict()["agreement"] is None


def test_a_constant_reference_is_nothing_to_compare() -> None:
    constant = np.zeros_like(LABEL)
    assert compare(constant, constant).problems(max_drop=1, min_agreement=0) == [
        "nothing to compare: the reference predicts 1 class on 1 tiles; train it further"
    ]


def test_a_reference_no_better_than_the_majority_is_nothing_to_compare() -> None:
    poor = np.array([[1, 1, 1, 0], [0, 0, 0, 0]], np.uint8)
    assert (
        compare(poor, poor)
        .problems(max_drop=1, min_agreement=0)[0]
        .startswith("nothing to compare: the reference's mean IoU 0.0417 is not above the majority predictor's 0.1667")
    )


def test_a_constant_candidate_fails() -> None:
    assert len(compare(LABEL, np.zeros_like(LABEL)).problems(max_drop=0.005, min_agreement=0.9999)) == 2


def test_uncounted_classes_are_left_out_of_the_mean() -> None:
    comparing = Comparing(("a", "b", "c"), (2,))
    comparing.add(LABEL, LABEL, changed(LABEL, r1c2=1))
    result = comparing.result()
    assert result.candidate.mean_iou == pytest.approx((1 + 2 / 3) / 2)
    assert result.candidate.iou[2] == 1 / 2


def test_the_largest_logit_difference_is_kept() -> None:
    comparing = Comparing(("a",), ())
    assert comparing.result().logit_difference is None
    for value in (0.25, -0.5, 0.125):
        comparing.add_logits(np.zeros((1, 2, 2), np.float32), np.full((1, 2, 2), value, np.float32))
    assert comparing.result().logit_difference == 0.5


def test_logits_that_are_not_numbers_are_not_hidden() -> None:
    comparing = Comparing(("a", "b", "c"), ())
    comparing.add(LABEL, LABEL, LABEL)
    for value in (math.nan, 0.25):
        comparing.add_logits(np.zeros((1, 2, 2), np.float32), np.full((1, 2, 2), value, np.float32))
    assert comparing.result().problems(max_drop=1, min_agreement=0) == ["4 logits are NaN or infinite"]


def test_json_values() -> None:
    facts = json.loads(json.dumps(compare(LABEL, changed(LABEL, r0c0=1)).to_dict()))
    assert facts["tiles"] == 1
    assert facts["iou"]["a"] == {"reference": 1.0, "candidate": 0.75}
    assert facts["mean_iou"]["drop"] == pytest.approx(0.1944, abs=1e-4)
    comparing = Comparing(("a", "b", "c", "never"), ())
    comparing.add(LABEL, LABEL, LABEL)
    assert comparing.result().to_dict()["iou"]["never"] == {"reference": None, "candidate": None}
