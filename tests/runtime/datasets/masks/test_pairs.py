"""Pairs and splits: complete, sorted, and a split that does not move when tiles are added."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from dlcv.runtime.datasets.masks.description import load_description
from dlcv.runtime.datasets.masks.pairs import find_pairs, load_split, validation_pairs
from dlcv.runtime.errors import DatasetError

DEEPGLOBE = load_description("deepglobe")


def filled(folder: Path, names: Iterable[str], suffixes: tuple[str, ...] = ("_sat.jpg", "_mask.png")) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        for suffix in suffixes:
            (folder / f"{name}{suffix}").touch()
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        find_pairs(folder, DEEPGLOBE)
    return str(caught.value)


def test_pairs_are_sorted_and_found_in_folders(tmp_path: Path) -> None:
    filled(tmp_path, ["b", "a", "deep/er/c", ".hidden/d"])
    (tmp_path / "notes.txt").touch()
    pairs = find_pairs(tmp_path, DEEPGLOBE)
    assert [pair.name for pair in pairs] == ["a", "b", "deep/er/c"]
    assert pairs[2].image == tmp_path / "deep/er/c_sat.jpg"
    assert pairs[2].mask == tmp_path / "deep/er/c_mask.png"


def test_one_suffix_may_end_in_the_other(tmp_path: Path) -> None:
    description = replace(DEEPGLOBE, image_suffix=".png", mask_suffix="_mask.png")
    filled(tmp_path, ["a", "b"], (".png", "_mask.png"))
    assert [(pair.image.name, pair.mask.name) for pair in find_pairs(tmp_path, description)] == [
        ("a.png", "a_mask.png"),
        ("b.png", "b_mask.png"),
    ]


def test_a_missing_folder(tmp_path: Path) -> None:
    folder = tmp_path / "none"
    assert refusal(folder) == f"there is no folder {folder}; --data expects a folder of tiles and masks"


def test_no_pair(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    assert refusal(tmp_path) == (
        f"no pairs in {tmp_path}; looked for NAME_sat.jpg with NAME_mask.png, as the dataset deepglobe says"
    )


def test_half_pairs_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    filled(tmp_path, ["a"])
    filled(tmp_path, ["y", "x"], ("_sat.jpg",))
    filled(tmp_path, ["z"], ("_mask.png",))
    assert refusal(tmp_path) == (
        f"2 images have no mask, the first is {tmp_path / 'x_sat.jpg'}; "
        f"1 mask has no image, the first is {tmp_path / 'z_mask.png'}; expected NAME_sat.jpg with NAME_mask.png"
    )


def test_two_folders_are_the_split(tmp_path: Path) -> None:
    filled(tmp_path / "train", ["a", "b"])
    filled(tmp_path / "validation", ["c"])
    train, validation = load_split(tmp_path, DEEPGLOBE)
    assert [pair.name for pair in train] == ["a", "b"]
    assert [pair.name for pair in validation] == ["c"]
    assert validation_pairs(tmp_path, DEEPGLOBE) == validation


@pytest.mark.parametrize("second", ["val", "valid", "test"])
def test_the_second_folder_has_other_names(tmp_path: Path, second: str) -> None:
    filled(tmp_path / second, ["c"])
    filled(tmp_path, ["a"])
    assert [pair.name for pair in validation_pairs(tmp_path, DEEPGLOBE)] == ["a", f"{second}/c"], "without train/"
    filled(tmp_path / "train", ["b"])
    train, validation = load_split(tmp_path, DEEPGLOBE)
    assert [pair.name for pair in (*train, *validation)] == ["b", "c"]
    assert validation_pairs(tmp_path, DEEPGLOBE) == validation


def test_one_of_two_folders_is_an_error(tmp_path: Path) -> None:
    filled(tmp_path / "train", ["a"])
    with pytest.raises(DatasetError, match="holds train/ but no validation/; expected both, or none"):
        load_split(tmp_path, DEEPGLOBE)


def test_the_seeded_split_stays_when_tiles_are_added(tmp_path: Path) -> None:
    filled(tmp_path, [f"t{i}" for i in range(200)])
    before = [{pair.name for pair in part} for part in load_split(tmp_path, DEEPGLOBE)]
    assert not before[0] & before[1]
    assert len(before[0] | before[1]) == 200
    # 200 draws of probability 0.2: mean 40, deviation 5.7; four deviations either side
    assert 18 <= len(before[1]) <= 62
    filled(tmp_path, [f"new{i}" for i in range(50)])
    after = [{pair.name for pair in part} for part in load_split(tmp_path, DEEPGLOBE)]
    assert before[0] < after[0]
    assert before[1] < after[1]
    assert {pair.name for pair in load_split(tmp_path, DEEPGLOBE, seed=1)[1]} != after[1]


def test_a_larger_share_keeps_what_a_smaller_one_took(tmp_path: Path) -> None:
    filled(tmp_path, [f"t{i}" for i in range(60)])
    few = load_split(tmp_path, DEEPGLOBE, validation_share=0.1)[1]
    many = load_split(tmp_path, DEEPGLOBE, validation_share=0.5)[1]
    assert set(few) < set(many)


def test_a_split_with_an_empty_side(tmp_path: Path) -> None:
    filled(tmp_path, ["a"])
    with pytest.raises(DatasetError, match=r"splitting the 1 pairs in .* to validate; add tiles, or make train/ and"):
        load_split(tmp_path, DEEPGLOBE)


def test_validation_pairs_without_the_folder_are_all(tmp_path: Path) -> None:
    filled(tmp_path, ["a", "b"])
    assert [pair.name for pair in validation_pairs(tmp_path, DEEPGLOBE)] == ["a", "b"]
