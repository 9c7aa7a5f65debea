"""Comparison of two sides, on masks and probabilities small enough to check by eye."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from dlcv.runtime.errors import VerdictError
from dlcv.runtime.scoring.comparison import MAX_PROBABILITY_DIFFERENCE, MIN_AGREEMENT, Comparing, Comparison

LABEL = np.array([[0, 0, 0, 0], [1, 1, 2, 2]], np.uint8)


def changed(mask: NDArray[np.uint8], **cells: int) -> NDArray[np.uint8]:
    """`mask` with cells such as r0c1=2 changed."""
    copy = mask.copy()
    for cell, value in cells.items():
        copy[int(cell[1]), int(cell[3])] = value
    return copy


def compare(reference: NDArray[np.uint8], candidate: NDArray[np.uint8], tiles: int = 1) -> Comparison:
    comparing = Comparing("segmentation", ("a", "b", "c"))
    for _ in range(tiles):
        comparing.add(LABEL, reference, candidate)
    return comparing.result()


def test_equal_sides_pass() -> None:
    result = compare(LABEL, LABEL, tiles=2)
    assert (result.images, result.agreement, result.drop, result.reference.headline) == (2, 1.0, 0.0, 1.0)
    assert result.problems(max_drop=0, min_agreement=1) == []
    result.require(max_drop=0, min_agreement=1)


def test_the_numbers_by_hand() -> None:
    result = compare(LABEL, changed(LABEL, r0c0=1))
    # a: 3 of 4 hit, union 4; b: 2 hit, union 3; c: 2 of 2
    assert result.candidate.per_class == pytest.approx((3 / 4, 2 / 3, 1))
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
    result = Comparing("segmentation", ("a", "b")).result()
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
    assert [text[:9] for text in compare(LABEL, np.zeros_like(LABEL)).problems(max_drop=0.005, min_agreement=0.9999)] == [
        "mean IoU ", "argmax ag", "IoU of b ", "IoU of c ", "IoU of a ",
    ]  # fmt: skip


def test_uncounted_classes_are_left_out_of_the_mean() -> None:
    comparing = Comparing("segmentation", ("a", "b", "c"), (2,))
    comparing.add(LABEL, LABEL, changed(LABEL, r1c2=1))
    result = comparing.result()
    assert result.candidate.headline == pytest.approx((1 + 2 / 3) / 2)
    assert result.candidate.per_class[2] == 1 / 2


def test_the_largest_logit_difference_is_kept() -> None:
    comparing = Comparing("segmentation", ("a",))
    assert comparing.result().logit_difference is None
    for value in (0.25, -0.5, 0.125):
        comparing.add_logits(np.zeros((1, 2, 2), np.float32), np.full((1, 2, 2), value, np.float32))
    assert comparing.result().logit_difference == 0.5


def test_logits_that_are_not_numbers_are_not_hidden() -> None:
    comparing = Comparing("segmentation", ("a", "b", "c"))
    comparing.add(LABEL, LABEL, LABEL)
    for value in (math.nan, 0.25):
        comparing.add_logits(np.zeros((1, 2, 2), np.float32), np.full((1, 2, 2), value, np.float32))
    assert comparing.result().problems(max_drop=1, min_agreement=0) == ["4 logits are NaN or infinite"]


def test_json_values() -> None:
    facts = json.loads(json.dumps(compare(LABEL, changed(LABEL, r0c0=1)).to_dict()))
    assert facts["tiles"] == 1
    assert facts["iou"]["a"] == {"reference": 1.0, "candidate": 0.75}
    assert facts["mean_iou"]["drop"] == pytest.approx(0.1944, abs=1e-4)
    comparing = Comparing("segmentation", ("a", "b", "c", "never"))
    comparing.add(LABEL, LABEL, LABEL)
    assert comparing.result().to_dict()["iou"]["never"] == {"reference": None, "candidate": None}


# --- classification -----------------------------------------------------------------------------------------------------

SURE = [[0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8]]
"""Probabilities of images whose classes are 0, 0, 1, 2: all right."""


def classified(reference: list[list[float]], candidate: list[list[float]]) -> Comparison:
    comparing = Comparing("classification", ("a", "b", "c"))
    for label, first, second in zip((0, 0, 1, 2), reference, candidate, strict=True):
        comparing.add(np.array(label), np.array(first, np.float32), np.array(second, np.float32))
    return comparing.result()


def with_row(row: int, values: list[float]) -> list[list[float]]:
    return [values if k == row else old for k, old in enumerate(SURE)]


def test_classification_by_hand() -> None:
    result = classified(SURE, with_row(1, [0.3, 0.6, 0.1]))
    assert (result.images, result.agreement) == (4, 3 / 4)
    assert result.drop == pytest.approx(0.25)
    assert result.probability_difference == pytest.approx(0.4)
    assert result.candidate.per_class == (0.5, 1, 1)
    assert result.problems(max_drop=0, min_agreement=0.999, max_probability_difference=1e-3) == [
        "accuracy falls by 0.2500, from 1.0000 to 0.7500; allowed is 0",
        "argmax agreement 0.750000 is below 0.999",
        "largest probability difference 0.4; allowed is 0.001",
    ]


def test_probabilities_are_held_even_where_no_class_changes() -> None:
    result = classified(SURE, with_row(0, [0.79, 0.11, 0.1]))
    bounds = {"max_drop": 0.0, "min_agreement": 1.0}
    assert result.problems(**bounds) == []
    assert result.problems(**bounds, max_probability_difference=MAX_PROBABILITY_DIFFERENCE["fp32"]) == [
        "largest probability difference 0.01; allowed is 0.001"
    ]
    with pytest.raises(VerdictError, match=r"^parity failed: largest probability difference 0\.01; allowed is 0\.001$"):
        result.require(**bounds, max_probability_difference=1e-3)


def test_probabilities_that_are_not_numbers_are_not_hidden() -> None:
    result = classified(SURE, with_row(3, [0.1, math.nan, 0.8]))
    assert result.not_finite == 1
    assert "1 logits or probabilities are NaN or infinite" in result.problems(max_drop=1, min_agreement=0)


def test_a_classifier_that_proves_nothing() -> None:
    constant = [[0.6, 0.2, 0.2]] * 4
    assert classified(constant, constant).problems(max_drop=1, min_agreement=0) == [
        "nothing to compare: the reference predicts 1 class on 4 images; train it further"
    ]
    poor = [[0.6, 0.2, 0.2], [0.6, 0.2, 0.2], [0.6, 0.2, 0.2], [0.2, 0.6, 0.2]]
    assert classified(poor, poor).problems(max_drop=1, min_agreement=0) == [
        "nothing to compare: the reference's accuracy 0.5000 is not above the majority predictor's 0.5000; train it further"
    ]
    none = Comparing("classification", ("a", "b")).result()
    assert none.problems(max_drop=1, min_agreement=0) == ["nothing to compare: no image was compared"]
    assert "NaN" not in json.dumps(none.to_dict())


def test_json_values_of_classification() -> None:
    facts = json.loads(json.dumps(classified(SURE, with_row(1, [0.3, 0.6, 0.1])).to_dict()))
    assert facts["images"] == 4
    assert facts["accuracy"] == {"reference": 1.0, "candidate": 0.75, "drop": 0.25, "drop_standard_error": 0.25}
    assert facts["balanced_accuracy"]["candidate"] == pytest.approx(2.5 / 3)
    assert facts["majority_accuracy"] == 0.5
    assert facts["recall"]["a"] == {"reference": 1.0, "candidate": 0.5}
    assert facts["probability_difference"] == pytest.approx(0.4)
    assert not any("iou" in name or "tiles" in name for name in facts)


def test_there_is_a_bound_for_every_precision() -> None:
    from dlcv.runtime.card.card import PRECISIONS, TASKS

    assert {task: tuple(bounds) for task, bounds in MIN_AGREEMENT.items()} == dict.fromkeys(TASKS, PRECISIONS)
    assert all(list(bounds.values()) == sorted(bounds.values(), reverse=True) for bounds in MIN_AGREEMENT.values())


def test_an_engine_is_held_to_the_lower_of_its_card_and_its_session() -> None:
    from dlcv.runtime.card.card import PRECISIONS
    from dlcv.runtime.scoring.comparison import bound_precision

    for precision in PRECISIONS:
        assert bound_precision(precision, precision) == precision
    assert bound_precision("fp32", "bf16") == "bf16"
    assert bound_precision("fp16", "fp32") == "fp16"
    assert bound_precision("fp32", "tf32") == "fp16"
    assert bound_precision("int8", "tf32") == "int8"
