"""The gate of a low precision: what it lets pass is told, what fails says what to do, and what it advises helps."""

from __future__ import annotations

import numpy as np
import pytest

from dlcv.export.gate import images_for, not_shown_proof, nothing_to_lose, require_held
from dlcv.runtime.errors import VerdictError
from dlcv.runtime.scoring.comparison import Comparing, Comparison


def _classified(images: int, lost: int) -> Comparison:
    """Two classes; torch has three images in four right, and the stage loses so many of them."""
    comparing, wrong = Comparing("classification", ["a", "b"]), images // 4
    for k in range(images):
        reference = 1 - k % 2 if k < wrong else k % 2
        candidate = 1 - reference if wrong <= k < wrong + lost else reference
        comparing.add(np.array(k % 2), np.eye(2, dtype=np.float32)[reference], np.eye(2, dtype=np.float32)[candidate])
    return comparing.result()


def test_what_is_let_pass_says_which_images_to_name() -> None:
    said = require_held(_classified(48, 1), "int8", 0.005)
    assert said.startswith("accuracy falls by 0.0208, from 0.7500 to 0.7292, which 48 images cannot tell from 0.005 ")
    assert said.endswith("3,334 can tell; name more labelled images with --data, of which up to 200 are taken")
    said = require_held(_classified(200, 2), "int8", 0.005)
    assert said.endswith("can tell; dlcv-parity compares on as many as its --data holds"), "the export takes no more"
    assert require_held(_classified(200, 1), "int8", 0.005) == ""
    assert not_shown_proof(_classified(48, 1)) == "drop not shown: accuracy -0.0208 on 48 images"


def test_a_failure_says_what_helps() -> None:
    with pytest.raises(VerdictError) as caught:
        require_held(_classified(48, 2), "int8", 0.005)
    assert str(caught.value) == (
        "int8 is not what torch is on 48 images, no file was written: accuracy falls by 0.0417, from 0.7500 to 0.7083; allowed is 0.005; "
        "48 images are few for such a bound: name more labelled images with --data, of which up to 200 are taken, or allow more with --max-drop"
    )
    with pytest.raises(VerdictError, match=r"allowed is 0\.005$"):  # 20 of 400: more would show the same
        require_held(_classified(400, 20), "int8", 0.005)


def test_few_images_excuse_nothing_but_the_drop() -> None:
    with pytest.raises(
        VerdictError, match=r"24 images, no file was written: argmax agreement 0\.958333 is below 0\.975$"
    ):
        require_held(_classified(24, 1), "fp16", 0.05)


@pytest.mark.parametrize(
    ("task", "max_drop", "images"),
    [("classification", 0.005, 200), ("classification", 0.1, 10), ("classification", 0.0001, 1000), ("classification", 0, 1000), ("segmentation", 0.005, 64)],
)  # fmt: skip
def test_how_many_images_a_bound_needs(task: str, max_drop: float, images: int) -> None:
    assert images_for(task, max_drop) == images


def test_a_model_that_shows_nothing_is_told_before_any_low_precision() -> None:
    comparing = Comparing("classification", ["a", "b"])
    for k in range(8):  # three in four are of the first class, and torch has one in two right
        answer = np.eye(2, dtype=np.float32)[k % 2]
        comparing.add(np.array(int(k > 5)), answer, answer)
    poor = comparing.result()
    reason = "nothing to compare: the reference's accuracy 0.5000 is not above the majority predictor's 0.7500; train it further"
    with pytest.raises(VerdictError, match=f"^int8 cannot be judged on 8 images, no file was written: {reason}$"):
        nothing_to_lose(poor, "int8")
    assert nothing_to_lose(poor, "auto") == reason, "which takes float32"
    assert nothing_to_lose(poor, "fp32") == nothing_to_lose(_classified(48, 0), "int8") == ""
