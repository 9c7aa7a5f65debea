"""What a unit sees: by hand for a plain CNN."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dlcv.train.explain.layers import layers_of
from dlcv.train.explain.receptive import patch_box, receptive_field
from dlcv.train.explain.subject import Subject


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("conv1", (3, 3)),
        ("conv2", (8, 8)),  # 3, behind the pooling 4 in steps of 2, then 2 more steps of 2
        ("conv3", (18, 18)),  # 8, behind the pooling 10 in steps of 4, then 2 more steps of 4
        ("fc", None),
    ],
)
def test_the_field_of_cnn3(name: str, expected: tuple[int, int] | None, subject_of: Callable[..., Subject]) -> None:
    subject = subject_of("cnn3")
    layer = next(layer for layer in layers_of(subject.model, (64, 64)) if layer.name == name)
    assert receptive_field(subject, layer) == expected


def test_the_patch_lies_around_the_unit_and_within_the_image() -> None:
    assert patch_box((0.5, 0.25), (8, 8), (64, 64)) == (28, 12, 36, 20)
    assert patch_box((0.0, 1.0), (8, 8), (64, 64)) == (0, 60, 4, 64)
    assert patch_box((0.5, 0.5), None, (64, 48)) == (0, 0, 64, 48)
    # the unit of the pixel 9 of a 3 x 3 convolution reads the pixels 8, 9 and 10
    assert patch_box((9.5 / 64, 9.5 / 64), (3, 3), (64, 64)) == (8, 8, 11, 11)
