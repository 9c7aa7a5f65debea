"""Labels: indices and colours become class indices, and what means nothing is told with its place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dlcv.runtime.datasets.masks.description import DatasetDescription, load_description
from dlcv.runtime.datasets.masks.labels import check_sizes, read_label
from dlcv.runtime.datasets.masks.pairs import Pair
from dlcv.runtime.errors import DatasetError
from dlcv.runtime.masks import write_mask

DEEPGLOBE = load_description("deepglobe")
DUBAI = load_description("dubai512")
EXACT = DatasetDescription("exact", ("a", "b", "c"), ((9, 0, 0), (8, 0, 0), (8, 0, 1)), threshold=None)
LABEL = np.random.default_rng(0).integers(0, 7, (9, 14), dtype=np.uint8)


def saved(path: Path, mask_rgb: NDArray[np.uint8]) -> Path:
    Image.fromarray(mask_rgb).save(path)
    return path


def refusal(path: Path, description: DatasetDescription) -> str:
    with pytest.raises(DatasetError) as caught:
        read_label(path, description)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_colours(tmp_path: Path) -> None:
    label = read_label(saved(tmp_path / "m.png", np.array(DEEPGLOBE.palette, np.uint8)[LABEL]), DEEPGLOBE)
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, LABEL)


def test_colours_that_are_not_clean_are_thresholded(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 128, (*LABEL.shape, 3))
    mask = np.abs(np.array(DEEPGLOBE.palette, int)[LABEL] - noise).astype(np.uint8)  # 0..127 and 128..255
    np.testing.assert_array_equal(read_label(saved(tmp_path / "m.png", mask), DEEPGLOBE), LABEL)


def test_exact_colours(tmp_path: Path) -> None:
    mask = np.array(EXACT.palette, np.uint8)[LABEL % 3]
    np.testing.assert_array_equal(read_label(saved(tmp_path / "m.png", mask), EXACT), LABEL % 3)


def test_indices(tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    write_mask(path, LABEL % 6, DUBAI.palette)
    np.testing.assert_array_equal(read_label(Pair("m", tmp_path / "m_sat.jpg", path), DUBAI), LABEL % 6)


def test_colour_masks_may_be_palette_pngs(tmp_path: Path) -> None:
    write_mask(tmp_path / "m.png", LABEL, DEEPGLOBE.palette)
    np.testing.assert_array_equal(read_label(tmp_path / "m.png", DEEPGLOBE), LABEL)


def test_an_index_that_is_no_class(tmp_path: Path) -> None:
    label = np.zeros((4, 5), np.uint8)
    label[2, 3] = 6
    write_mask(tmp_path / "m.png", label, [(0, 0, 0)])
    assert refusal(tmp_path / "m.png", DUBAI) == (
        f"the mask {tmp_path / 'm.png'} holds the value 6 at row 2, column 3; "
        "expected class indices 0 to 5, as the dataset dubai512 says"
    )


def test_a_colour_that_is_no_class(tmp_path: Path) -> None:
    mask = np.array(DEEPGLOBE.palette, np.uint8)[LABEL]
    mask[5, 7] = (200, 30, 0)
    assert refusal(saved(tmp_path / "m.png", mask), DEEPGLOBE) == (
        f"the mask {tmp_path / 'm.png'} holds the colour (200, 30, 0) at row 5, column 7, which is no class of the "
        "dataset deepglobe (each channel is thresholded at 128); expected urban (0, 255, 255), "
        "agriculture (255, 255, 0), rangeland (255, 0, 255), "
        "forest (0, 255, 0), water (0, 0, 255), barren (255, 255, 255), unknown (0, 0, 0)"
    )


@pytest.mark.parametrize("colour", [(9, 0, 1), (0, 0, 0), (255, 255, 255)])
def test_an_exact_colour_that_is_no_class(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    mask = np.array(EXACT.palette, np.uint8)[LABEL % 3]
    mask[0, 1] = colour
    message = refusal(saved(tmp_path / "m.png", mask), EXACT)
    assert f"holds the colour {colour} at row 0, column 1, which is no class of the dataset exact; " in message
    assert message.endswith("expected a (9, 0, 0), b (8, 0, 0), c (8, 0, 1)")


def test_many_classes_are_not_all_listed(tmp_path: Path) -> None:
    many = replace(EXACT, classes=tuple(map(str, range(99))), palette=tuple((i, 0, 0) for i in range(99)))
    path = saved(tmp_path / "m.png", np.full((2, 2, 3), 200, np.uint8))
    assert refusal(path, many).endswith("11 (11, 0, 0) and 87 more")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    for description in (DEEPGLOBE, DUBAI):
        assert refusal(path, description) == f"cannot read the mask {path}: there is no such file"
    saved(path, np.zeros((4, 4, 3), np.uint8))
    assert "expected class indices: a palette or grey PNG" in refusal(path, DUBAI)


def test_sizes() -> None:
    pair = Pair("a", Path("a_sat.jpg"), Path("a_mask.png"))
    check_sizes(np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.uint8), pair)
    with pytest.raises(DatasetError) as caught:
        check_sizes(np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4), np.uint8), pair)
    assert str(caught.value) == (
        "the mask a_mask.png is 5 x 4, its image a_sat.jpg is 4 x 5 (height x width); expected the same size"
    )
