"""A folder per class, and files named CLASS_INDEX."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from dlcv.runtime.datasets.classes.folders import find_in_folder
from dlcv.runtime.errors import DatasetError


def filled(folder: Path, names: Sequence[str]) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        find_in_folder(folder, lambda _: None)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_per_class(tmp_path: Path) -> None:
    hidden = [".git/x.png", "b/.c.png", "b/.d/e.png"]
    filled(tmp_path, ["b/z.JPG", "b/a.tif", "a/deep/er/c.png", "a/notes.txt", "readme.md", *hidden])
    found = find_in_folder(tmp_path, print)
    assert [(f.name, f.label) for f in found] == [("a/deep/er/c.png", "a"), ("b/a.tif", "b"), ("b/z.JPG", "b")]
    assert found[0].path == tmp_path / "a/deep/er/c.png"


def test_a_class_folder_may_be_a_link(tmp_path: Path) -> None:
    filled(tmp_path / "elsewhere", ["a.png"])
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "forest").symlink_to(tmp_path / "elsewhere")
    assert [f.name for f in find_in_folder(tmp_path / "data", print)] == ["forest/a.png"]


def test_a_class_folder_without_images(tmp_path: Path) -> None:
    filled(tmp_path, ["a/1.png", "b/notes.txt", "c/.hidden.png"])
    assert refusal(tmp_path) == (
        f"the class folder {tmp_path / 'b'} holds no image (nor have 1 others); add images, or remove the folder"
    )


def test_images_outside_the_class_folders_are_told(tmp_path: Path) -> None:
    filled(tmp_path, ["a/1.png", "b/1.png", "preview.png"])
    lines: list[str] = []
    assert len(find_in_folder(tmp_path, lines.append)) == 2
    assert lines == [f"1 images stand outside the class folders of {tmp_path} and are left out, such as preview.png"]


def test_a_side_of_a_split_is_no_class(tmp_path: Path) -> None:
    filled(tmp_path, ["train/a/1.png", "train/b/1.png", "eval/a/1.png"])
    assert refusal(tmp_path) == (
        f"{tmp_path} holds train/ with folders inside, which is no class; expected train/ and validation/, "
        f"or a folder per class, such as {tmp_path / 'train'} itself"
    )


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    filled(tmp_path, ["bus/1.png", "train/1.png"])
    assert [f.label for f in find_in_folder(tmp_path, print)] == ["bus", "train"]


def test_files_named_class_index(tmp_path: Path) -> None:
    filled(tmp_path, ["Forest_12.jpg", "3_0001.png", "Sea_Lake_7.png", "labels.txt", ".x.png", "old/notes.txt"])
    found = find_in_folder(tmp_path, print)
    assert [(f.name, f.label) for f in found] == [
        ("3_0001.png", "3"),
        ("Forest_12.jpg", "Forest"),
        ("Sea_Lake_7.png", "Sea_Lake"),
    ]


@pytest.mark.parametrize("name", ["forest.png", "_12.png", "Forest_12a.png", "Forest_.png", "Forest_1.b.png"])
def test_flat_files_without_a_class(tmp_path: Path, name: str) -> None:
    filled(tmp_path, ["Forest_1.png", name])
    assert refusal(tmp_path).startswith(
        f"1 of the 2 images in {tmp_path} carry no class, the first is '{name}'; expected names CLASS_INDEX.png"
    )


def test_nothing(tmp_path: Path) -> None:
    expected = (
        f"no labelled images in {tmp_path}; expected a folder per class, a labels.csv, or files named CLASS_INDEX.png"
    )
    assert refusal(tmp_path) == expected
    filled(tmp_path, ["fer2013.csv"])
    assert refusal(tmp_path) == f"{expected}; to read a table, name the file itself: {tmp_path / 'fer2013.csv'}"
    assert refusal(tmp_path / "none").startswith(f"cannot read the folder {tmp_path / 'none'}: ")
