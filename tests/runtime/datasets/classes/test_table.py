"""CSVs of file names and labels, and of pixels: what is accepted, and each fault with its row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dlcv.runtime.datasets.classes.table import find_in_csv
from dlcv.runtime.errors import DatasetError

FOUR = "0 7 128 255"


def written(folder: Path, text: str, files: tuple[str, ...] = ("a.png", "b.png", "c.png")) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "t.csv").write_text(text)
    return folder / "t.csv"


def refusal(path: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        find_in_csv(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))
    return str(caught.value).removeprefix(str(path))


@pytest.mark.parametrize("file", ["file", "Filename", "file_name", "IMAGE", "image_id", " path", "name"])
@pytest.mark.parametrize("label", ["label", "Class", "class_name", "category", "target", "emotion "])
def test_headers(tmp_path: Path, file: str, label: str) -> None:
    found = find_in_csv(written(tmp_path, f"x,{label},{file}\n,cat,a.png\n,dog,b.png\n"))
    assert [(f.name, f.label, f.row, f.part) for f in found] == [("a.png", "cat", 2, ""), ("b.png", "dog", 3, "")]
    assert found[0].path == tmp_path / "a.png"


def test_files_are_looked_for_beside_and_in_images(tmp_path: Path) -> None:
    path = written(
        tmp_path, "image_id,label\n./x//a.png,1\nb.png,0\nISIC_7,1\n", ("x/a.png", "images/b.png", "images/ISIC_7.jpg")
    )
    found = find_in_csv(path)
    assert [f.name for f in found] == ["x/a.png", "b.png", "ISIC_7"]
    assert [f.path for f in found] == [tmp_path / n for n in ("x/a.png", "images/b.png", "images/ISIC_7.jpg")]


def test_names_may_hold_commas_and_quotes(tmp_path: Path) -> None:
    assert find_in_csv(written(tmp_path, 'file,label\n"a, ""b"".png",x\n', ('a, "b".png',)))[0].name == 'a, "b".png'


def test_a_split_column(tmp_path: Path) -> None:
    said = ["train", "Training", "validation", "val", "valid", "PublicTest", "test", "PrivateTest"]
    files = tuple(f"{k}.png" for k in range(len(said)))
    rows = "".join(f"{file},x,{split}\n" for file, split in zip(files, said, strict=True))
    parts = [f.part for f in find_in_csv(written(tmp_path, "file,label,Usage\n" + rows, files))]
    assert parts == ["train"] * 2 + ["validation"] * 4 + ["test"] * 2
    for other in ("", "later"):
        assert refusal(written(tmp_path, f"file,label,split\na.png,x,train\nb.png,x,{other}\n")).startswith(
            f", row 3: the split '{other}', expected one of train, training, validation, "
        )


def test_missing_files_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, "file,label\na.png,x\nno.png,x\nb.png,y\nnor.png,x\n")
    assert refusal(path) == (
        f": 2 of its files are not there, the first is 'no.png' in row 3; expected them below {tmp_path} or {tmp_path / 'images'}"
    )


@pytest.mark.parametrize("header", ["file,lable", "a.png,x", "label", "pixels,Usage", "file;label"])
def test_a_wrong_header(tmp_path: Path, header: str) -> None:
    assert refusal(written(tmp_path, f"{header}\n")) == (
        f", row 1: the columns are '{header}'; expected one of file, filename, image, imageid, path, name or pixels, "
        "and one of label, class, classname, category, target, emotion"
    )


def test_a_column_twice(tmp_path: Path) -> None:
    path = written(tmp_path, "file,label,Label\na.png,x,y\n")
    assert refusal(path) == ", row 1: the column 'label' stands there twice; remove one"


def test_a_file_twice(tmp_path: Path) -> None:
    assert refusal(written(tmp_path, "file,label\na.png,x\nb.png,x\n./a.png,y\n")) == (
        ": rows 2 and 4 both name 'a.png'; remove one"
    )
    rows = written(tmp_path, "file,label\nd.png,x\nimages/d.png,x\n", ("images/d.png",))
    assert refusal(rows).startswith(": rows 2 and 3 both name ")


@pytest.mark.parametrize(
    "name",
    [
        "../a.png",
        "x/../a.png",
        "/etc/passwd",
        "..",
        "x/..",
        "..\\a.png",
        "\\a.png",
        "C:\\a.png",
        "c:a.png",
        "\\\\host\\a",
    ],
)
def test_names_that_leave_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "a.png").touch()
    message = refusal(written(tmp_path / "data", f"file,label\n{name},x\n"))
    assert message == f", row 2: {name!r} leads out of the CSV's folder; expected a path below it"


def test_dots_inside_a_name_are_no_way_out(tmp_path: Path) -> None:
    assert find_in_csv(written(tmp_path, "file,label\na..b.png,x\n", ("a..b.png",)))[0].name == "a..b.png"


def test_empty_cells_and_tables(tmp_path: Path) -> None:
    assert refusal(written(tmp_path, "file,label\na.png, \n")) == ", row 2: the label is empty; expected a class"
    assert refusal(written(tmp_path, "file,label\n,x\n")) == ", row 2: the file name is empty"
    assert refusal(written(tmp_path, "file,label\n")) == " holds a header and no rows; expected a row an image"
    assert refusal(written(tmp_path, "")) == " is empty; expected a header and rows below it"


def test_pixels(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    rows = "\n".join(f"{k % 7},{' '.join(map(str, image.ravel()))},Training" for k, image in enumerate(grey))
    found = find_in_csv(written(tmp_path, f"emotion, pixels,Usage\n{rows}\n"))
    assert [(f.name, f.label, f.row, f.part) for f in found] == [
        (f"row {k}", str(k - 2), k, "train") for k in range(2, 5)
    ]
    for image, expected in zip(found, grey, strict=True):
        assert image.pixels is not None and image.pixels.dtype == np.uint8
        np.testing.assert_array_equal(image.pixels, expected)


def test_identical_pixels_and_padded_numbers_are_fine(tmp_path: Path) -> None:
    found = find_in_csv(written(tmp_path, f'pixels,label\n{FOUR},x\n"  000 007  128 255 ",x\n'))
    assert [f.pixels.tolist() for f in found if f.pixels is not None] == [[[0, 7], [128, 255]]] * 2


@pytest.mark.parametrize(
    ("pixels", "told"),
    [
        ("1 2 3", "3 pixels, expected 4 as in row 2"),
        ("1 2 3 4 5 6 7 8 9", "9 pixels, expected 4 as in row 2"),
        ("1 2 3 256", "'256' among the pixels; expected numbers from 0 to 255 with spaces between"),
        ("-1 2 3 4", "'-1' among the pixels; "),
        ("1 2.5 3 4", "'2.5' among the pixels; "),
        ("1 x 3 4", "'x' among the pixels; "),
        ("1 1_0 3 4", "'1_0' among the pixels; "),
        ("1 ٣ 3 4", "'٣' among the pixels; "),  # a digit, and no ASCII
        ("1 2 3 " + "9" * 5000, "'" + "9" * 60 + "'... among the pixels; "),
        ("1\t2\t3\t4", "'1\\t2\\t3\\t4' among the pixels; "),
        ("", "'' among the pixels; "),
    ],
)
def test_wrong_pixels(tmp_path: Path, pixels: str, told: str) -> None:
    message = refusal(written(tmp_path, f"pixels,emotion\n{FOUR},0\n{pixels},1\n"))
    assert message.startswith(f", row 3: {told}")


def test_pixels_of_no_square(tmp_path: Path) -> None:
    path = written(tmp_path, "pixels,emotion\n1 2 3,0\n")
    assert refusal(path) == ", row 2: 3 pixels, expected a square such as 48 x 48 = 2304"
