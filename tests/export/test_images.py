"""How many labelled images an export takes, and that what it says of them is so."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from dlcv.export.images import images_to_verify_on
from dlcv.export.precision.low_precision import PrecisionSettings
from dlcv.runtime.card import ModelCard


@pytest.mark.parametrize(
    ("precision", "max_drop", "taken"), [("int8", 0.005, 200), ("auto", 0.01, 100), ("fp32", 0.005, 48), ("int8", 0.5, 48)]
)  # fmt: skip
def test_a_classifiers_low_precision_takes_as_many_as_the_bound_needs(
    precision: str, max_drop: float, taken: int, tiny_card: ModelCard, tmp_path: Path
) -> None:
    import cv2

    card = tiny_card.changed(
        task="classification", classes=("a", "b"), palette=(), uncounted=(), fit="centre-crop", short_side=64
    )
    for k in range(210):
        path = tmp_path / "ab"[k % 2] / f"{k}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), np.full((2, 2, 3), k, np.uint8))
    lines: list[str] = []
    checkpoint = cast(Any, SimpleNamespace())
    asked = PrecisionSettings(precision, max_drop=max_drop)
    labelled = images_to_verify_on(tmp_path, tmp_path / "best.pt", checkpoint, card, asked, lines.append)
    assert len(labelled) == taken
    assert {example.label for example in labelled.examples} == {0, 1}, "evenly over the classes"
    assert lines == [
        f"{tmp_path} has no validation/: any of its 210 images may count, and those that the model was trained on flatter it",
        f"{taken} of 210 images of {tmp_path} are taken, evenly spaced",
    ]
