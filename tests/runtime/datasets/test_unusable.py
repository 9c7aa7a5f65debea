"""Images that cannot be used are found, each with its reason, whatever the task."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dlcv.runtime.datasets import unusable as module
from dlcv.runtime.datasets.classes.formats import read_images
from dlcv.runtime.datasets.masks.description import DatasetDescription
from dlcv.runtime.datasets.masks.pairs import find_pairs
from dlcv.runtime.datasets.masks.tiles import SegmentationSet
from dlcv.runtime.datasets.unusable import unusable


def test_what_read_refuses_is_found_and_all_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 2)
    for name in "abcde":
        cv2.imwrite(str(tmp_path / f"{name}_sat.png"), np.full((16, 20, 3), 90, np.uint8))
        cv2.imwrite(str(tmp_path / f"{name}_mask.png"), np.full((16, 20), 2, np.uint8))
    cut = (tmp_path / "b_sat.png").read_bytes()
    (tmp_path / "b_sat.png").write_bytes(cut[:60])
    cv2.imwrite(str(tmp_path / "c_mask.png"), np.full((15, 20), 2, np.uint8))
    cv2.imwrite(str(tmp_path / "e_mask.png"), np.full((16, 20), 9, np.uint8))
    description = DatasetDescription(
        name="x", masks="index", classes=("u", "v", "w"), palette=((0, 0, 0), (1, 1, 1), (2, 2, 2)),
        image_suffix="_sat.png", mask_suffix="_mask.png",
    )  # fmt: skip
    advanced: list[int] = []
    found = unusable(SegmentationSet(find_pairs(tmp_path, description), description), advanced.append)
    assert list(found) == ["b", "c", "e"]
    assert "cut off" in found["b"]
    assert "is 15 x 20" in found["c"]
    assert "the value 9 at row 0, column 0" in found["e"]
    assert sum(advanced) == 5


def test_of_pictures_in_class_folders(tmp_path: Path) -> None:
    for label in ("hill", "lake"):
        (tmp_path / label).mkdir()
        cv2.imwrite(str(tmp_path / label / "1.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "lake/2.png").write_bytes(b"")
    found = unusable(read_images(tmp_path).labelled)
    assert list(found) == ["lake/2.png"] and "empty" in found["lake/2.png"]
