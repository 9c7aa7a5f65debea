"""What few images excuse of a fall: no class wholly lost, no more than a few bounds, and nothing that they show beyond chance."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from dlcv.runtime.scoring.comparison import MIN_AGREEMENT, Comparing, Comparison
from dlcv.runtime.scoring.falls import Fall

CLASSES = ("a", "b", "c", "d", "e", "rare")
SIDE = 60


def _tile(rare: int) -> NDArray[np.uint8]:
    """Stripes of the first five classes, and so many rows of the sixth."""
    label = np.repeat(np.arange(SIDE) * 5 // SIDE, SIDE).reshape(SIDE, SIDE).astype(np.uint8)
    label[:rare] = 5
    return label


def _segmented(tiles: int, with_rare: int, *, found: float, stray: bool = False) -> Comparison:
    """The rare class stands in the first tiles; the candidate finds this share of its rows, torch all.

    Args:
        tiles, with_rare: how many.
        found: 0..1.
        stray: torch sees a pixel of the rare class in the last tile, too.
    """
    comparing = Comparing("segmentation", CLASSES)
    for k in range(tiles):
        rows = 3 if k < with_rare else 0
        label = _tile(rows)
        reference, candidate = label.copy(), _tile(round(rows * found))
        if stray and k == tiles - 1:
            reference[-1, -1] = 5
        comparing.add(label, reference, candidate)
    return comparing.result()


def _classified(images: int, lost: int, gained: int = 0, classes: int = 2) -> Comparison:
    """The reference has three images in four right; the candidate loses and gains so many."""
    comparing, names = Comparing("classification", [str(k) for k in range(classes)]), np.eye(classes, dtype=np.float32)
    wrong = images // 4
    for k in range(images):
        truth = k % classes
        right = k >= wrong
        flips = k < gained or wrong <= k < wrong + lost
        answers = [names[truth if has else (truth + 1) % classes] for has in (right, right != flips)]
        comparing.add(np.array(truth), *answers)
    return comparing.result()


def _problems(comparison: Comparison, max_drop: float = 0.005, precision: str = "int8") -> list[str]:
    return comparison.problems(max_drop=max_drop, min_agreement=MIN_AGREEMENT[comparison.task][precision])


@pytest.mark.parametrize(("tiles", "with_rare", "precision"), [(16, 1, "int8"), (32, 1, "fp16"), (32, 2, "fp16"), (32, 32, "int8")])  # fmt: skip
@pytest.mark.parametrize("max_drop", [0.005, 0.5])
def test_a_class_that_is_wholly_lost_never_passes(tiles: int, with_rare: int, precision: str, max_drop: float) -> None:
    comparison = _segmented(tiles, with_rare, found=0)
    assert comparison.agreement >= MIN_AGREEMENT["segmentation"][precision], "which alone would let it pass"
    assert "IoU of rare falls by 1.0000, from 1.0000 to 0.0000: the class is lost" in _problems(
        comparison, max_drop, precision
    )
    assert _problems(_segmented(tiles, with_rare, found=1), max_drop, precision) == [], "the control"
    assert comparison.problems(max_drop=1, min_agreement=0) == [], "which allows everything"


@pytest.mark.parametrize("stray", [False, True])
def test_a_class_in_one_tile_has_no_spread_to_excuse_it(stray: bool) -> None:
    """Without its tile it would leave the mean, or be a stray pixel's: its loss would look like chance."""
    comparison = _segmented(16, 1, found=2 / 3, stray=stray)
    (rare,) = (fall for fall in comparison.class_falls if fall.figure == "IoU of rare")
    assert rare.images == 1 and rare.error < 0.01, "the stray pixel is 0.0055 of its IoU"
    assert comparison.fall.told(0.005) and comparison.fall.error < comparison.fall.by / 10
    found = _problems(comparison)
    assert found[0].startswith("mean IoU falls by 0.05") and found[1].startswith("IoU of rare falls by 0.3")


def test_each_class_is_held_even_where_the_mean_is_not() -> None:
    wide = Comparing("segmentation", [str(k) for k in range(40)])
    label = np.repeat(np.arange(40), 40).reshape(40, 40).astype(np.uint8)
    worse = label.copy()
    worse[0, :5] = range(1, 6)
    for _ in range(4):
        wide.add(label, label, worse)
    assert wide.result().fall.within(0.01)
    assert _problems(wide.result(), 0.01) == ["IoU of 0 falls by 0.1250, from 1.0000 to 0.8750; allowed is 0.1"]


def test_a_class_that_the_reference_hardly_has_and_one_that_does_not_count_are_not_held() -> None:
    label = _tile(0)
    poor = label.copy()
    poor[:2, 0] = 5  # of a class that is nowhere
    comparing, uncounted = Comparing("segmentation", CLASSES), Comparing("segmentation", CLASSES, (5,))
    for _ in range(4):
        comparing.add(label, poor, label)
        uncounted.add(_tile(3), _tile(3), label)
    assert _problems(comparing.result()) == []
    assert not any("rare" in text for text in _problems(uncounted.result()))


def test_of_a_class_of_few_images_one_may_go_and_not_two() -> None:
    """Of 48 images of 12 classes, four each: one image is 0.25 of a recall."""
    one = _classified(48, 1, classes=12)
    assert _problems(one) == []
    assert "likewise classes: 1" in one.not_shown(0.005)
    comparing = Comparing("classification", list("abc"))
    eye = np.eye(3, dtype=np.float32)
    for k in range(48):
        truth = 0 if k < 3 else 1 + k % 2
        comparing.add(np.array(truth), eye[truth], eye[1 if k < 2 else truth])
    assert _problems(comparing.result())[1] == "recall of a falls by 0.6667, from 1.0000 to 0.3333; allowed is 0.05"


# The whole rule by the number of images: beyond the bound, by no more than chance, one image always, four bounds at most.
@pytest.mark.parametrize(
    ("images", "lost", "gained", "passes"),
    [
        (48, 1, 0, True), (48, 2, 0, False), (48, 3, 2, True), (100, 2, 0, True), (100, 3, 0, False),
        (199, 3, 0, True), (199, 4, 0, False), (200, 3, 0, True), (200, 4, 0, True), (200, 5, 0, False),
        (1000, 5, 0, True), (1000, 10, 0, True), (1000, 13, 0, False), (1000, 19, 18, True), (1000, 40, 19, False),
        (10000, 70, 0, False), (10000, 66, 0, True),
    ],
)  # fmt: skip
def test_the_rule_has_no_step(images: int, lost: int, gained: int, passes: bool) -> None:
    comparison = _classified(images, lost, gained)
    found = [text for text in comparison.problems(max_drop=0.005, min_agreement=0) if text.startswith("accuracy")]
    assert (found == []) is passes, found
    beyond = lost - gained > 0.005 * images
    assert bool(comparison.not_shown(0.005)) is beyond or not passes


def test_what_is_excused_only_shrinks_with_more_images() -> None:
    """As long as one image is worth more than the rest, the share that may be lost is one image's; then it goes to the bound."""
    shares = []
    for images in (48, 100, 400, 1600, 6400, 25600):
        allowed = [n for n in range(images) if Fall("x", n / images, 0, math.sqrt(n) / images, images, 1 / images).holds(0.005)]  # fmt: skip
        shares.append(max(allowed) / images)
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == 1 / 48 and shares[-1] < 0.006


def test_a_bound_of_zero_excuses_nothing() -> None:
    assert _problems(_classified(48, 1), 0) == ["accuracy falls by 0.0208, from 0.7500 to 0.7292; allowed is 0"]


def test_what_is_let_pass_is_told_with_how_many_can_tell() -> None:
    assert _classified(48, 1).not_shown(0.005) == (
        "accuracy falls by 0.0208, from 0.7500 to 0.7292, which 48 images cannot tell from 0.005 (standard error 0.0208): "
        "let pass, and not shown to be within 0.005; about 3,334 can tell"
    )
    assert _classified(48, 0).not_shown(0.005) == ""


def test_the_error_of_a_mean_is_the_jackknifes() -> None:
    """Of four tiles, one class in the first of which is lost: what leaving out each gives, by hand."""
    comparing, label = Comparing("segmentation", ("a", "b")), np.array([[0, 0, 1, 1]], np.uint8)
    for wrong in (True, False, False, False):
        comparing.add(label, label, np.array([[0, 0, 1, 0]], np.uint8) if wrong else label)
    # Without the first tile there is no drop; without another there are three: IoU of class 0 is 6 / 7, of class 1 5 / 6.
    without = [0.0, *[1 - (6 / 7 + 5 / 6) / 2] * 3]
    expected = math.sqrt(3 / 4 * sum((x - sum(without) / 4) ** 2 for x in without))
    result = comparing.result()
    assert result.fall.error == pytest.approx(expected)
    assert result.fall.needed(0.005) == math.ceil(4 * (2 * expected / 0.005) ** 2)
    of_b = [0.0, *[1 / 6] * 3]
    assert result.class_falls[1].error == pytest.approx(math.sqrt(3 / 4 * sum((x - sum(of_b) / 4) ** 2 for x in of_b)))


def test_the_error_of_an_accuracy_is_mcnemars() -> None:
    result = _classified(400, 7, 2)
    assert result.fall.error == pytest.approx(math.sqrt(9) / 400)
    assert result.fall.by == pytest.approx(5 / 400)


def test_one_tile_excuses_nothing() -> None:
    comparing = Comparing("segmentation", CLASSES)
    worse = _tile(0)
    worse[0, :20] = 1
    comparing.add(_tile(0), _tile(0), worse)
    assert _problems(comparing.result())[0].startswith("mean IoU falls by 0.0")
    assert comparing.result().to_dict()["mean_iou"]["drop_standard_error"] is None
