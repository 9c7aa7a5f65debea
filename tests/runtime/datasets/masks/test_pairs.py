"""Pairs and splits: complete, sorted, and a split that does not move when tiles are added."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from dlcv.runtime.datasets.masks.description import load_description
from dlcv.runtime.datasets.masks.pairs import find_pairs, has_validation, load_split, validation_pairs
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
        f"no pairs in {tmp_path}; looked for NAME_sat.jpg with NAME_mask.png, as the dataset deepglobe says; "
        "describe other names and folders with --dataset FILE.json, as docs/training.md shows"
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


FOLDERS = replace(DEEPGLOBE, image_folder="images", mask_folder="masks", image_suffix=".png", mask_suffix=".png")


def in_folders(data: Path, names: Iterable[str]) -> Path:
    """Names with `KIND` where the images' or the masks' folder stands."""
    for name in names:
        for kind in ("images", "masks"):
            path = data / f"{name.replace('KIND', kind)}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return data


def test_folders_tell_images_from_masks(tmp_path: Path) -> None:
    in_folders(tmp_path, ["KIND/b", "KIND/deep/a", "deep/KIND/c"])
    (tmp_path / "thumbnails").mkdir()
    (tmp_path / "thumbnails/b.png").touch()
    pairs = find_pairs(tmp_path, FOLDERS)
    assert [pair.name for pair in pairs] == ["b", "deep/a", "deep/c"]
    assert [(pair.image, pair.mask) for pair in pairs[1:]] == [
        (tmp_path / "images/deep/a.png", tmp_path / "masks/deep/a.png"),
        (tmp_path / "deep/images/c.png", tmp_path / "deep/masks/c.png"),
    ]


def test_an_image_without_a_mask_in_folders(tmp_path: Path) -> None:
    in_folders(tmp_path, ["KIND/a", "KIND/b"])
    (tmp_path / "masks/b.png").unlink()
    with pytest.raises(DatasetError) as caught:
        find_pairs(tmp_path, FOLDERS)
    assert str(caught.value) == (
        f"1 image has no mask, the first is {tmp_path / 'images/b.png'}; expected images/NAME.png with masks/NAME.png"
    )


def test_two_images_of_one_name(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="have one name"):
        find_pairs(in_folders(tmp_path, ["KIND/train/a", "train/KIND/a"]), FOLDERS)


@pytest.mark.parametrize("second", ["validation", "val"])
@pytest.mark.parametrize("layout", ["KIND/{}/{}", "{}/KIND/{}"])
def test_a_split_inside_or_outside_of_the_folders(tmp_path: Path, layout: str, second: str) -> None:
    names = [layout.format(part, name) for part, name in (("train", "a"), ("train", "b"), (second, "a"))]
    in_folders(tmp_path, names)
    train, validation = load_split(tmp_path, FOLDERS)
    assert [pair.name for pair in train] == ["a", "b"] and [pair.name for pair in validation] == ["a"]
    assert second in validation[0].image.parts and second in validation[0].mask.parts
    assert validation_pairs(tmp_path, FOLDERS) == validation
    assert has_validation(tmp_path, FOLDERS)


def test_folders_without_a_split(tmp_path: Path) -> None:
    in_folders(tmp_path, [f"KIND/{n}" for n in range(20)])
    train, validation = load_split(tmp_path, FOLDERS)
    assert len(train) + len(validation) == 20 and not has_validation(tmp_path, FOLDERS)
    assert len(validation_pairs(tmp_path, FOLDERS)) == 20
