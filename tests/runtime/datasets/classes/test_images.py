"""A classification set: images, labels, hashes and counts."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dlcv.runtime.datasets.classes.images import ClassificationSet, LabelledImage
from dlcv.runtime.errors import DatasetError

GREY = np.arange(16, dtype=np.uint8).reshape(4, 4)


def both(folder: Path) -> ClassificationSet:
    """A file and a row of pixels, the same picture."""
    Image.fromarray(GREY).save(folder / "a.png")
    images = [LabelledImage("a.png", 2, folder / "a.png"), LabelledImage("row 2", 0, folder / "t.csv", GREY)]
    return ClassificationSet(images, ("x", "y", "z"), "mine")


def test_images_and_labels(tmp_path: Path) -> None:
    labelled = both(tmp_path)
    for example, expected in zip(labelled.examples, (2, 0), strict=True):
        image_rgb, label = labelled.read(example)
        assert image_rgb.dtype == np.uint8
        np.testing.assert_array_equal(image_rgb, np.dstack([GREY] * 3))
        assert label.dtype == np.int64 and label.shape == () and int(label) == expected


def test_counts_and_description(tmp_path: Path) -> None:
    labelled = both(tmp_path)
    assert labelled.counts().tolist() == [1, 0, 1]
    assert labelled.with_examples([]).counts().tolist() == [0, 0, 0]
    assert labelled.description() == {"task": "classification", "name": "mine", "classes": ["x", "y", "z"]}
    assert [e.name for e in labelled.evenly(1).examples] == ["a.png"]


def test_hashes(tmp_path: Path) -> None:
    labelled = both(tmp_path)
    assert labelled.sha256(labelled.examples[0]) == hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()
    row = labelled.examples[1]
    flat = LabelledImage("row 3", 0, row.path, GREY.reshape(2, 8))
    assert len({labelled.sha256(row), labelled.sha256(flat)}) == 2, "the size is part of the picture"


def test_an_image_that_cannot_be_read(tmp_path: Path) -> None:
    labelled = both(tmp_path)
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"a\.png: "):
        labelled.image(labelled.examples[0])
    (tmp_path / "a.png").unlink()
    with pytest.raises(DatasetError, match=r"a\.png: there is no such file"):
        labelled.read(labelled.examples[0])
    with pytest.raises(DatasetError, match=r"^cannot read .*a\.png: No such file"):
        labelled.sha256(labelled.examples[0])
