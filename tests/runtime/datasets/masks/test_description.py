"""Dataset descriptions: the two that ship, one's own, and all problems of a file in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dlcv.runtime.datasets.masks.description import (
    DatasetDescription,
    description_from_dict,
    known_descriptions,
    load_description,
)
from dlcv.runtime.errors import DatasetError

VALID: dict[str, Any] = {
    "classes": [{"name": "land", "colour": [255, 0, 0]}, {"name": "sea", "colour": [0, 0, 255], "counted": False}],
    "masks": "colour",
}


def written(folder: Path, values: Any) -> str:
    (folder / "mine.json").write_text(json.dumps(values))
    return str(folder / "mine.json")


def refusal(name_or_file: str) -> str:
    with pytest.raises(DatasetError) as caught:
        load_description(name_or_file)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_deepglobe() -> None:
    description = load_description("deepglobe")
    assert description.name == "deepglobe"
    assert description.classes == ("urban", "agriculture", "rangeland", "forest", "water", "barren", "unknown")
    assert description.palette[0] == (0, 255, 255)
    assert description.palette[5] == (255, 255, 255)
    assert description.uncounted == (6,)
    assert (description.masks, description.threshold) == ("colour", 128)
    assert (description.image_suffix, description.mask_suffix) == ("_sat.jpg", "_mask.png")


def test_dubai512() -> None:
    description = load_description("dubai512")
    assert description.classes == ("building", "land", "road", "vegetation", "water", "unlabeled")
    assert description.uncounted == (5,)
    assert (description.masks, description.threshold) == ("index", None)
    assert len(set(description.palette)) == 6


def test_a_file_takes_the_defaults(tmp_path: Path) -> None:
    assert load_description(written(tmp_path, VALID)) == DatasetDescription(
        name="mine",
        classes=("land", "sea"),
        palette=((255, 0, 0), (0, 0, 255)),
        uncounted=(1,),
        masks="colour",
        threshold=128,
    )


@pytest.mark.parametrize("name", ["deepglobe", "dubai512"])
def test_to_dict_and_back(tmp_path: Path, name: str) -> None:
    description = load_description(name)
    assert load_description(written(tmp_path, description.to_dict())) == description
    exact = replace(description, masks="colour", threshold=None)
    assert load_description(written(tmp_path, exact.to_dict())) == exact


def test_exact_colours(tmp_path: Path) -> None:
    values = VALID | {"threshold": None, "classes": [{"name": n, "colour": [c, c, c]} for n, c in (("a", 1), ("b", 2))]}
    assert load_description(written(tmp_path, values)).threshold is None


def test_an_unknown_name() -> None:
    assert known_descriptions() == ["deepglobe", "dubai512"]
    assert refusal("dubai") == "unknown dataset 'dubai'; known: deepglobe, dubai512; or name a FILE.json"


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "none.json"
    assert refusal(str(path)) == f"cannot read the dataset description {path}: there is no such file"


def test_not_json(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{\n")
    assert "is not JSON: Expecting property name" in refusal(str(tmp_path / "a.json"))
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\xfd")
    assert "is not JSON" in refusal(str(tmp_path / "b.json"))
    (tmp_path / "c.json").write_text("[" * 100_000)
    assert "is not JSON" in refusal(str(tmp_path / "c.json"))


def test_all_problems_are_told_together(tmp_path: Path) -> None:
    classes = [{"name": "", "colour": [0, 0, 300]}, 7, {"name": "b", "color": [1, 2, 3], "counted": "no"}]
    values = {"classes": classes, "masks": "rgb", "threshold": 0, "mask_suffix": "_sat.jpg", "size": 3}
    path = written(tmp_path, values | {"name": 4})
    assert refusal(path) == f"the dataset description {path} is not valid: " + "; ".join(
        [
            "unknown key 'size', expected classes, image_folder, image_suffix, mask_folder, mask_suffix, masks, name, threshold",
            "name is 4, expected a text",
            "masks is 'rgb', expected 'colour' or 'index'",
            "threshold is 0, expected 1 to 255 or null",
            "image_suffix and mask_suffix are both '_sat.jpg', expected two that tell images from masks, or folders of their own",
            "class 0: name is '', expected a text",
            "class 0: colour is [0, 0, 300], expected [R, G, B] of 0 to 255",
            "class 1 is 7, expected an object with name and colour",
            "class 2: unknown key 'color', expected colour, counted, name",
            "class 2: colour is missing, expected [R, G, B] of 0 to 255",
            "class 2: counted is 'no', expected true or false",
        ]
    )


@pytest.mark.parametrize("values", [[], 3, None])
def test_not_an_object(tmp_path: Path, values: Any) -> None:
    assert refusal(written(tmp_path, values)).endswith("is not valid: expected an object with classes and masks")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"classes": [{"name": "a", "colour": [200, 0, 0]}, {"name": "b", "colour": [255, 9, 0]}]},
         "classes 0 and 1 have the same colour after the threshold of 128; set threshold to null"),
        ({"threshold": None, "classes": [{"name": "a", "colour": [2, 0, 0]}, {"name": "b", "colour": [2, 0, 0]}]},
         "classes 0 and 1 have the same colour"),
        ({"classes": [{"name": "a", "colour": [255, 0, 0]}, {"name": "a", "colour": [0, 0, 0]}]},
         "classes 0 and 1 are both named 'a'"),
        ({"classes": [{"name": n, "colour": [c, 0, 0], "counted": False} for n, c in (("a", 0), ("b", 255))]},
         "no class is counted, expected at least one"),
        ({"classes": [{"name": "a", "colour": [0, 0, 0]}]}, "expected a list of 2 to 256 classes"),
    ],
)  # fmt: skip
def test_classes_that_cannot_be_told_apart(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    assert refusal(written(tmp_path, VALID | change)).endswith(problem)


def test_index_masks_may_share_colours(tmp_path: Path) -> None:
    classes = [{"name": n, "colour": [9, 9, 9]} for n in "ab"]
    assert load_description(written(tmp_path, {"classes": classes, "masks": "index"})).palette == ((9, 9, 9),) * 2


CLASSES = [{"name": "a", "colour": [0, 0, 0]}, {"name": "b", "colour": [0, 0, 255]}]
IN_FOLDERS = {"classes": CLASSES, "masks": "index", "image_suffix": ".png", "mask_suffix": ".png", "image_folder": "images", "mask_folder": "masks"}  # fmt: skip


def test_with_folders_the_suffixes_may_be_the_same() -> None:
    description = description_from_dict(IN_FOLDERS, "mine", source="mine.json")
    assert (description.image_folder, description.mask_folder) == ("images", "masks")
    assert description_from_dict(description.to_dict(), "mine", source="mine.json") == description


def test_copies_side_by_side_are_told_by_their_suffixes() -> None:
    """A run's probe is one folder of copies."""
    copies = description_from_dict(IN_FOLDERS, "mine", source="mine.json").side_by_side()
    assert (copies.image_folder, copies.mask_folder) == ("", "")
    assert (copies.image_suffix, copies.mask_suffix) == ("_image.png", "_mask.png")
    assert description_from_dict(copies.to_dict(), "mine", source="mine.json") == copies
    assert load_description("deepglobe").side_by_side() == load_description("deepglobe")


@pytest.mark.parametrize(
    ("folders", "told"),
    [
        ({"image_folder": "images"}, "mask_folder is missing, expected the name of a folder such as 'images'"),
        ({"image_folder": "a/b", "mask_folder": ".m"}, "image_folder is 'a/b', expected the name of a folder"),
        ({"image_folder": "x", "mask_folder": "x"}, "image_folder and mask_folder are both 'x', expected two"),
        ({"image_folder": 3, "mask_folder": "m"}, "image_folder is 3, expected the name of a folder"),
    ],
)
def test_folders_that_cannot_be(folders: dict[str, Any], told: str) -> None:
    values = {"classes": CLASSES, "masks": "index", **folders}
    with pytest.raises(DatasetError) as caught:
        description_from_dict(values, "mine", source="mine.json")
    assert told in str(caught.value) and "\n" not in str(caught.value)
