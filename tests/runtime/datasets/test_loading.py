"""Loading for both tasks: each form of data, its split, a model's classes, and a probe that is read back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.datasets.classes.images import ClassificationSet
from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.datasets.loading import labelled_for, training_split, write_labelled_csv
from dlcv.runtime.datasets.masks.description import load_description
from dlcv.runtime.datasets.split import write_split
from dlcv.runtime.errors import DatasetError

DUBAI = load_description("dubai512")
TILES_CARD = ModelCard(
    model="fcn8s",
    task="segmentation",
    classes=DUBAI.classes,
    palette=DUBAI.palette,
    input_size_hw=(64, 64),
    mean_rgb=(0, 0, 0),
    std_rgb=(1, 1, 1),
)


def card_of(*classes: str) -> ModelCard:
    return TILES_CARD.changed(task="classification", classes=classes, palette=(), fit="centre-crop", short_side=64)


def images(folder: Path, names: Sequence[str]) -> Path:
    """Small pictures, each another one."""
    for k, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 5, 3), k, np.uint8)).save(folder / name)
    return folder


def class_folders(folder: Path, classes: str = "abc", each: int = 5) -> Path:
    return images(folder, [f"{label}/{label}{k}.png" for label in classes for k in range(each)])


def split_of(data: Path, *only: str, say: Any = print) -> tuple[LabelledSet[Any], LabelledSet[Any]]:
    return training_split("classification", data, dataset="", only=only, validation_share=0.2, seed=0, say=say)


def names(labelled: LabelledSet[Any]) -> list[str]:
    return [example.name for example in labelled.examples]


def refusal(data: Path, *only: str) -> str:
    with pytest.raises(DatasetError) as caught:
        split_of(data, *only)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_class_folders_are_split_by_class(tmp_path: Path) -> None:
    train, validation = split_of(class_folders(tmp_path))
    assert train.classes == validation.classes == ("a", "b", "c")
    assert train.counts().tolist() == [4, 4, 4]
    assert validation.counts().tolist() == [1, 1, 1]
    assert sorted(names(train) + names(validation)) == sorted(f"{c}/{c}{k}.png" for c in "abc" for k in range(5))
    image_rgb, label = train.read(train.examples[-1])
    assert image_rgb.shape == (4, 5, 3) and int(label) == 2
    assert train.name == tmp_path.name


def test_flat_files_are_split_by_class(tmp_path: Path) -> None:
    train, validation = split_of(images(tmp_path, [f"{k % 2}_{k:04}.png" for k in range(10)]))
    assert train.classes == ("0", "1")
    assert (train.counts().tolist(), validation.counts().tolist()) == ([4, 4], [1, 1])


@pytest.mark.parametrize("second", ["validation", "val", "valid", "test"])
def test_two_folders_are_the_split(tmp_path: Path, second: str) -> None:
    class_folders(tmp_path / "train", each=3)
    class_folders(tmp_path / second, each=1)
    train, validation = split_of(tmp_path)
    assert names(train)[:2] == ["train/a/a0.png", "train/a/a1.png"]
    assert names(validation) == [f"{second}/{c}/{c}0.png" for c in "abc"]
    lines: list[str] = []
    assert names(labelled_for(card_of("a", "b", "c"), tmp_path, say=lines.append)) == names(validation)
    assert lines == []


def test_two_folders_with_other_classes(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", "abc")
    class_folders(tmp_path / "test", "bcde")
    name = tmp_path.name
    assert refusal(tmp_path) == (
        f"the classes of {name}/train and {name}/test differ: only {name}/train has a; only {name}/test has d, e; "
        f"expected the same; choose some that both have, or write them to {tmp_path / 'classes.txt'}"
    )
    train, validation = split_of(tmp_path, "c", "b")
    assert train.classes == validation.classes == ("c", "b")
    assert refusal(tmp_path, "a", "b") == f"{name}/test has no class 'a'; the 4 known are b, c, d, e"


def test_a_list_of_classes_serves_both_folders(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", "abc")
    class_folders(tmp_path / "test", "bc")
    (tmp_path / "classes.txt").write_text("c\nb\na\n")
    lines: list[str] = []
    train, validation = split_of(tmp_path, say=lines.append)
    assert train.classes == validation.classes == ("c", "b", "a")
    assert lines == ["1 of the 3 classes have no image to validate on: a"]


def test_a_choice_of_classes(tmp_path: Path) -> None:
    lines: list[str] = []
    train, validation = split_of(class_folders(tmp_path), "c", "a", say=lines.append)
    assert train.classes == validation.classes == ("c", "a")
    assert {(e.name[0], e.label) for e in (*train.examples, *validation.examples)} == {("c", 0), ("a", 1)}
    assert lines == [f"{tmp_path.name}: 5 of its 15 images are of other classes than c, a and are left out"]
    assert refusal(tmp_path, "a", "x") == f"{tmp_path.name} has no class 'x'; the 3 known are a, b, c"


def table(folder: Path, rows: Sequence[str], name: str = "labels.csv") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join(rows) + "\n")
    return folder / name


def test_a_csv_with_a_split_column(tmp_path: Path) -> None:
    images(tmp_path, [f"{k}.png" for k in range(5)])
    rows = ["file,label,split", "0.png,b,train", "1.png,a,train", "2.png,a,val", "3.png,b,val", "4.png,b,test"]
    path = table(tmp_path, rows)
    for data in (path, tmp_path):
        lines: list[str] = []
        train, validation = split_of(data, say=lines.append)
        assert (names(train), names(validation)) == (["0.png", "1.png"], ["2.png", "3.png"])
        assert lines == [f"{data.name}: 1 images are for testing and are left out"]
        assert names(labelled_for(card_of("a", "b"), data)) == ["2.png", "3.png"]


def test_what_is_for_testing_validates_where_nothing_else_does(tmp_path: Path) -> None:
    images(tmp_path, ["0.png", "1.png", "2.png"])
    path = table(tmp_path, ["file,label,split", "0.png,b,train", "1.png,a,train", "2.png,a,test"])
    assert names(split_of(path)[1]) == ["2.png"]


def test_a_csv_without_a_split_is_split_by_class(tmp_path: Path) -> None:
    images(tmp_path / "images", [f"{k}.png" for k in range(10)])
    path = table(tmp_path, ["image,label", *(f"{k}.png,{(0, 3)[k % 2]}" for k in range(10))])
    lines: list[str] = []
    train, validation = split_of(path, say=lines.append)
    assert train.classes == ("0", "1", "2", "3")
    assert validation.counts().tolist() == [1, 0, 0, 1]
    assert "2 of the 4 classes have no image to train on: 1, 2" in lines


def test_labels_outside_the_list_of_classes(tmp_path: Path) -> None:
    images(tmp_path, ["0.png", "1.png"])
    path = tmp_path / "labels.csv"
    table(tmp_path, ["file,label", "0.png,cat", "1.png,2"]).replace(path)
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    for data in (path, tmp_path):  # the row is of the table, also where its folder was named
        assert refusal(data) == f"{path}, row 3: the label '2' is no class; the 2 known are cat, dog"


def fer(folder: Path, usage: bool = True) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 9))
    said = ("Training",) * 4 + ("PublicTest",) * 2 + ("PrivateTest",) * 2
    rows = [f"{k % 2},{' '.join(map(str, row))}" + f",{said[k]}" * usage for k, row in enumerate(pixels)]
    return table(folder, ["emotion,pixels" + ",Usage" * usage, *rows], "fer.csv")


def test_rows_of_pixels(tmp_path: Path) -> None:
    lines: list[str] = []
    train, validation = split_of(fer(tmp_path), say=lines.append)
    assert names(train) == ["row 2", "row 3", "row 4", "row 5"]
    assert names(validation) == ["row 6", "row 7"]
    assert lines == ["fer.csv: 2 images are for testing and are left out"]
    assert train.image(train.examples[0]).shape == (3, 3, 3)
    train, validation = split_of(fer(tmp_path, usage=False))
    assert (train.counts().tolist(), validation.counts().tolist()) == ([3, 3], [1, 1])


def test_data_that_cannot_be_trained_on(tmp_path: Path) -> None:
    none = tmp_path / "none"
    assert refusal(none) == f"there is no {none}; --data expects a folder of images, or a CSV of file names and labels"
    assert refusal(class_folders(tmp_path / "one", "a")).startswith(
        f"{tmp_path / 'one'} has one class, 'a'; expected two"
    )
    single = class_folders(tmp_path / "single", "ab", each=1)
    assert refusal(single) == (f"{single} leaves 2 images to train and 0 to validate; expected some on each side")
    images(tmp_path, ["0.png"])
    path = table(tmp_path, ["file,label,split", "0.png,b,train"])
    assert "leaves 1 images to train and 0 to validate" in refusal(path)
    with pytest.raises(DatasetError, match=r"the split column of .*labels\.csv has no row for validation"):
        labelled_for(card_of("b"), path)


def test_a_model_of_fewer_classes_narrows_the_data(tmp_path: Path) -> None:
    lines: list[str] = []
    labelled = labelled_for(card_of("c", "a"), class_folders(tmp_path), say=lines.append)
    assert labelled.classes == ("c", "a") and len(labelled) == 10
    assert lines == [
        f"{tmp_path.name}: 5 of its 15 images are of other classes than c, a and are left out",
        f"{tmp_path} has no validation/: all its 10 images count, and those that the model was trained on flatter it",
    ]


def test_a_model_of_other_classes(tmp_path: Path) -> None:
    class_folders(tmp_path)
    with pytest.raises(DatasetError, match=r"the model has 2 classes \(a, x\), the dataset .* has 3 \(a, b, c\)"):
        labelled_for(card_of("a", "x"), tmp_path)
    with pytest.raises(DatasetError, match=r"the model has 4 classes \(a, b, c, d\), the dataset .* has 3"):
        labelled_for(card_of("a", "b", "c", "d"), tmp_path)


def test_a_folder_that_is_itself_for_validation_is_not_remarked(tmp_path: Path) -> None:
    class_folders(tmp_path / "test")
    lines: list[str] = []
    assert len(labelled_for(card_of("a", "b", "c"), tmp_path / "test", say=lines.append)) == 15
    assert lines == []


def test_a_runs_split_names_the_images(tmp_path: Path) -> None:
    data, path = class_folders(tmp_path / "data"), tmp_path / "split.csv"
    train, validation = split_of(data, "b", "a")
    write_split(path, names(train), names(validation))
    lines: list[str] = []
    labelled = labelled_for(card_of("b", "a"), data, split=path, say=lines.append)
    assert labelled.examples == validation.examples and lines == []
    (data / names(validation)[1]).unlink()
    with pytest.raises(DatasetError) as caught:
        labelled_for(card_of("b", "a"), data, split=path)
    assert str(caught.value) == (
        f"1 of the 2 validation images in {path} are not in {data}, the first is '{names(validation)[1]}'; "
        "expected the data that the run was trained on"
    )
    write_split(path, names(train), [])
    with pytest.raises(DatasetError, match="lists no image for validation"):
        labelled_for(card_of("b", "a"), data, split=path)


def test_a_runs_split_of_two_folders(tmp_path: Path) -> None:
    class_folders(tmp_path / "train")
    class_folders(tmp_path / "test", each=2)
    train, validation = split_of(tmp_path)
    write_split(tmp_path / "split.csv", names(train), names(validation))
    assert names(labelled_for(card_of("a", "b", "c"), tmp_path, split=tmp_path / "split.csv")) == names(validation)


@pytest.mark.parametrize("kind", ["files", "pixels"])
def test_a_probe_is_read_back(tmp_path: Path, kind: str) -> None:
    data = class_folders(tmp_path / "data", each=2) if kind == "files" else fer(tmp_path)
    labelled = split_of(data)[1]
    assert isinstance(labelled, ClassificationSet)
    write_labelled_csv(tmp_path / "probe", labelled)
    lines: list[str] = []
    card = card_of(*labelled.classes)
    again = labelled_for(card, tmp_path / "probe", say=lines.append)
    assert again.classes == labelled.classes and len(again) == len(labelled) and lines == []
    for a, b in zip(labelled.examples, again.examples, strict=True):
        assert a.label == b.label
        np.testing.assert_array_equal(labelled.image(a), again.image(b))
        assert kind == "pixels" or labelled.sha256(a) == again.sha256(b)


def test_a_probe_of_hostile_names(tmp_path: Path) -> None:
    """Class and file names are only text: copies go by number, and rare classes keep their index."""
    strange = ["0", '"q", x', "-1", "..", "ünï"]
    images(tmp_path / "data", [f"{name}/a,\n{k}.png" for name in ("0", '"q", x', "-1", "ünï") for k in range(2)])
    labelled = split_of(tmp_path / "data")[0]
    assert isinstance(labelled, ClassificationSet)
    labelled.classes = (*labelled.classes, "..")
    write_labelled_csv(tmp_path / "probe", labelled)
    again = labelled_for(card_of(*labelled.classes), tmp_path / "probe")
    assert sorted(again.classes) == sorted(strange)
    assert [e.label for e in again.examples] == [e.label for e in labelled.examples]
    assert sorted(p.name for p in (tmp_path / "probe").iterdir()) == [
        *(f"{k:04}.png" for k in range(4)), "classes.txt", "labels.csv",
    ]  # fmt: skip


def test_a_probe_of_what_cannot_be_read(tmp_path: Path) -> None:
    labelled = split_of(class_folders(tmp_path / "data"))[1]
    assert isinstance(labelled, ClassificationSet)
    labelled.examples[0].path.unlink()
    with pytest.raises(DatasetError, match="there is no such file"):
        write_labelled_csv(tmp_path / "probe", labelled)


def tiles(folder: Path, count: int) -> Path:
    for k in range(count):
        images(folder, [f"t{k}_sat.jpg"])
        Image.fromarray(np.full((4, 5), k % 6, np.uint8)).save(folder / f"t{k}_mask.png")
    return folder


def test_segmentation(tmp_path: Path) -> None:
    tiles(tmp_path / "train", 3)
    tiles(tmp_path / "val", 2)
    train, validation = training_split("segmentation", tmp_path, dataset="dubai512", validation_share=0.2, seed=0)
    assert (names(train), names(validation)) == (["t0", "t1", "t2"], ["t0", "t1"])
    assert train.task == "segmentation" and train.classes == DUBAI.classes
    write_split(tmp_path / "split.csv", names(train), names(validation)[:1])
    lines: list[str] = []
    assert names(labelled_for(TILES_CARD, tmp_path, say=lines.append)) == ["t0", "t1"]
    assert names(labelled_for(TILES_CARD, tmp_path, split=tmp_path / "split.csv", say=lines.append)) == ["t0"]
    assert lines == []
    with pytest.raises(DatasetError, match="a choice of classes is for classification"):
        training_split("segmentation", tmp_path, dataset="dubai512", only=["a"], validation_share=0.2, seed=0)


def test_segmentation_of_all_tiles_is_remarked(tmp_path: Path) -> None:
    tiles(tmp_path, 12)
    lines: list[str] = []
    assert len(labelled_for(TILES_CARD, tmp_path, dataset="dubai512", say=lines.append)) == 12
    assert lines == [
        f"{tmp_path} has no validation/: all its 12 tiles count, and those that the model was trained on flatter it"
    ]
    train, validation = training_split("segmentation", tmp_path, dataset="dubai512", validation_share=0.3, seed=0)
    write_split(tmp_path / "split.csv", names(train), names(validation))
    listed = labelled_for(TILES_CARD, tmp_path, split=tmp_path / "split.csv", say=lines.append)
    assert names(listed) == names(validation) and len(lines) == 1


def test_segmentation_with_a_description_of_other_classes(tmp_path: Path) -> None:
    tiles(tmp_path, 2)
    with pytest.raises(DatasetError, match=r"the model has 6 classes \(building, .*\), the dataset deepglobe has 7"):
        labelled_for(TILES_CARD, tmp_path, dataset="deepglobe")
