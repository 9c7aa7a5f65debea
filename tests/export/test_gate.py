"""The gate on few images: what they cannot tell from no drop neither fails an export nor is said to hold; what they can tell fails."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from dlcv.export.gate import Pairing, Pairs, require_held
from dlcv.runtime.comparison import Comparing, Comparison
from dlcv.runtime.datasets.classes.images import ClassificationSet
from dlcv.runtime.datasets.masks.description import load_description
from dlcv.runtime.datasets.masks.pairs import find_pairs
from dlcv.runtime.datasets.masks.tiles import SegmentationSet
from dlcv.runtime.errors import VerdictError


def _classified(images: int, lost: int, gained: int = 0) -> Comparison:
    """Two classes; torch has all but one image in four right, and loses and gains at the beginning of each."""
    comparing = Comparing("classification", ["a", "b"])
    wrong = images // 4
    for k in range(images):
        truth, answer = k % 2, k % 2
        reference = 1 - answer if k < wrong else answer
        flips = k < gained or wrong <= k < wrong + lost
        candidate = 1 - reference if flips else reference
        comparing.add(np.array(truth), np.eye(2, dtype=np.float32)[reference], np.eye(2, dtype=np.float32)[candidate])
    return comparing.result()


def test_what_was_collected_of_a_classifier_is_json() -> None:
    pairing = Pairing(ClassificationSet([], ["a", "b", "c", "d"], "none"))
    for reference, candidate in ((0, 1), (1, 0), (0, 0)):
        pairing.add(np.array(0), np.eye(4, dtype=np.float32)[reference], np.eye(4, dtype=np.float32)[candidate])
    assert json.dumps(pairing.result().to_dict()) == '{"images_lost": 1, "images_gained": 1, "chance": 0.75}'


@pytest.mark.parametrize(("lost", "gained", "chance"), [(1, 0, 1 / 2), (3, 0, 1 / 8), (3, 1, 5 / 16), (5, 0, 1 / 32), (0, 0, 1)])  # fmt: skip
def test_the_exact_test_is_the_binomials(lost: int, gained: int, chance: float) -> None:
    assert Pairs(48, lost, gained).chance == chance


def test_one_image_of_48_is_let_pass_and_not_said_to_hold() -> None:
    said = require_held(_classified(48, 1), Pairs(48, 1), "int8", 0.005)
    assert said == (
        "accuracy falls by 0.0208, from 0.7500 to 0.7292, which these images cannot tell from no drop (1 of 48 images lost and 0 gained; "
        "by chance in 50% of cases): it is let pass, and not shown to be within 0.005; a bound of 0.005 needs about 200 images and these "
        "are 48: pass more with --data, or allow more with --max-drop"
    )
    with pytest.raises(VerdictError, match=r"accuracy falls by 0\.0208"):
        require_held(_classified(48, 1), None, "int8", 0.005)


def test_a_drop_that_the_images_show_fails_and_says_how_many_are_needed() -> None:
    with pytest.raises(VerdictError) as caught:
        require_held(_classified(100, 6), Pairs(100, 6), "int8", 0.005)
    assert "accuracy falls by 0.0600" in str(caught.value)
    assert str(caught.value).endswith("a bound of 0.005 needs about 200 images and these are 100: pass more with --data, or allow more with --max-drop")  # fmt: skip


def test_of_images_enough_the_bound_alone_counts() -> None:
    """Two of 200 are 0.01, and by chance in a quarter of cases."""
    with pytest.raises(VerdictError, match=r"accuracy falls by 0\.0100, .*; allowed is 0\.005$"):
        require_held(_classified(200, 2), Pairs(200, 2), "int8", 0.005)
    assert require_held(_classified(200, 1), Pairs(200, 1), "int8", 0.005) == ""


def test_few_images_excuse_nothing_but_the_drop() -> None:
    with pytest.raises(
        VerdictError, match=r"48 images, no file was written: argmax agreement 0\.916667 is below 0\.93$"
    ):
        require_held(_classified(48, 4), Pairs(48, 4), "int8", 0.005)


def test_the_spread_is_the_jackknifes(tiny_data: Path) -> None:
    """Of four tiles, one class in the first of which is lost: what leaving out each gives, by hand."""
    description = load_description("deepglobe")
    labelled = SegmentationSet(find_pairs(tiny_data, description), description)
    pairing = Pairing(labelled)
    label = np.array([[0, 0, 1, 1]], np.uint8)
    for wrong in (True, False, False, False):
        pairing.add(label, label, np.array([[0, 0, 1, 0]], np.uint8) if wrong else label)
    found = pairing.result()
    # Without the first tile there is no drop; without another there are three: IoU of class 0 is 6 / 7, of class 1 5 / 6.
    without = [0.0, *[1 - (6 / 7 + 5 / 6) / 2] * 3]
    expected = math.sqrt(3 / 4 * sum((x - sum(without) / 4) ** 2 for x in without))
    assert found.spread == pytest.approx(expected)
    assert found.to_dict() == {"drop_standard_error": found.spread}
    assert not found.shows(0.1), "one tile of four has it all"
    assert found.needed(0.005) == math.ceil(4 * (2 * expected / 0.005) ** 2)


def test_a_drop_of_mean_iou_that_tiles_cannot_tell() -> None:
    comparing = Comparing("segmentation", ["a", "b"])
    label = np.repeat([[0] * 50 + [1] * 50], 10, 0).astype(np.uint8)
    worse = label.copy()
    worse[0, :30] = 1
    for answer in (worse, label, label, label):
        comparing.add(label, label, answer)
    comparison = comparing.result()
    assert 0.005 < comparison.drop < 0.03
    said = require_held(comparison, Pairs(4, spread=comparison.drop), "int8", 0.005)
    assert (
        "cannot tell from no drop (standard error of the drop 0.0" in said and "a bound of 0.005 needs about " in said
    )
    with pytest.raises(VerdictError, match=r"mean IoU falls by 0\.0"):
        require_held(comparison, Pairs(4, spread=comparison.drop / 4), "int8", 0.005)
    with pytest.raises(VerdictError, match=r"4 tiles are too few for a bound of 0\.0:|mean IoU falls"):
        require_held(comparison, Pairs(4, spread=comparison.drop / 4), "int8", 0.0)
