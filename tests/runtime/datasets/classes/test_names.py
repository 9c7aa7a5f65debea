"""Classes: from a list, from labels, and a choice among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlcv.runtime.datasets.classes.found import Found
from dlcv.runtime.datasets.classes.images import ClassificationSet, LabelledImage
from dlcv.runtime.datasets.classes.names import check_classes, narrowed, read_classes, with_labels
from dlcv.runtime.errors import DatasetError

SOURCE = Path("t.csv")


def found(*labels: str) -> list[Found]:
    return [Found(f"{k}.png", label, Path(f"{k}.png"), row=k + 2) for k, label in enumerate(labels)]


def refused(*labels: str, fixed: tuple[str, ...] | None = None) -> str:
    with pytest.raises(DatasetError) as caught:
        with_labels(found(*labels), fixed, SOURCE)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_names_are_sorted() -> None:
    assert with_labels(found("b", "a", "c", "a"), None, SOURCE) == ([1, 0, 2, 0], ("a", "b", "c"))


def test_numbers_count_and_may_have_gaps() -> None:
    labels, classes = with_labels(found("10", "2", "02"), None, SOURCE)
    assert labels == [10, 2, 2]
    assert classes == tuple(map(str, range(11)))


def test_numbers_that_count_nothing() -> None:
    assert refused("0", "-1") == (
        "t.csv, row 3: the label '-1', expected 0 to 9999; labels that are numbers but count nothing need a classes.txt"
    )
    assert refused("10000").startswith("t.csv, row 2: the label '10000', expected 0 to 9999")
    assert with_labels(found("1" * 5000, "0"), None, SOURCE)[0] == [1, 0]  # too long to be an index: a name


def test_fixed_classes_are_named_or_counted() -> None:
    assert with_labels(found("dog", "0", "1", "cat"), ("cat", "dog", "owl"), SOURCE) == (
        [1, 0, 1, 0],
        ("cat", "dog", "owl"),
    )
    assert with_labels(found("1", "0"), ("1", "0"), SOURCE)[0] == [0, 1]  # a name comes first


def test_numbers_that_could_be_names_or_indices() -> None:
    """Taken one by one, 0 would count the first class and 1 would name it."""
    assert refused("1", "0", "2", fixed=("1", "2", "3")) == (
        "t.csv: the label '1' is a class's name and '0' is none; expected labels that all name the classes 1, 2, 3, "
        "or in classes.txt names that are no numbers, which labels count from 0"
    )
    assert with_labels(found("1", "3", "2"), ("1", "2", "3"), SOURCE)[0] == [0, 2, 1]
    assert with_labels(found("1", "01", "2"), ("0", "1", "2"), SOURCE)[0] == [1, 1, 2]  # both meanings are the same
    assert "row 3: the label '7' is no class" in refused("1", "7", fixed=("1", "2", "3"))


@pytest.mark.parametrize("label", ["wolf", "3", "-1", "Cat"])
def test_labels_outside_the_classes(label: str) -> None:
    assert refused("cat", label, fixed=("cat", "dog", "owl")) == (
        f"t.csv, row 3: the label '{label}' is no class; the 3 known are cat, dog, owl"
    )


def test_a_folder_outside_the_classes() -> None:
    with pytest.raises(DatasetError, match=r"^data, wolf/a.png: the label 'wolf' is no class; the 1 known are cat$"):
        with_labels([Found("wolf/a.png", "wolf", Path("data/wolf/a.png"))], ("cat",), Path("data"))


def test_a_list_of_classes(tmp_path: Path) -> None:
    assert read_classes(tmp_path) is None
    path = tmp_path / "classes.txt"
    path.write_bytes("\ufeffb c\r\na \r\n\r\n".encode())
    assert read_classes(tmp_path) == ("b c", "a")
    for text, told in (
        ("", f"{path} has 0 classes, expected 1 to 10000"),
        ("a\n\nb\n", f"{path}, row 2 is blank; expected a class name a line, as the position is the index"),
        ("a\nb\na\n", f"{path}: the class 'a' is there twice"),
        ("a\x07\n", f"{path}: the class name 'a\\x07' is empty, not printable or begins or ends with a space"),
    ):
        path.write_text(text)
        with pytest.raises(DatasetError) as caught:
            read_classes(tmp_path)
        assert str(caught.value) == told


def test_class_names() -> None:
    for name in ("", " a", "a\nb", "a\udcff"):
        with pytest.raises(DatasetError, match="is empty, not printable or begins or ends with a space"):
            check_classes(["x", name], SOURCE)
    with pytest.raises(DatasetError, match="10001 classes, expected 1 to 10000"):
        check_classes([str(k) for k in range(10001)], SOURCE)


def four() -> ClassificationSet:
    images = [LabelledImage(f"{k}.png", k % 3, Path(f"{k}.png")) for k in range(4)]
    return ClassificationSet(images, ("a", "b", "c", "d"), "mine")


def test_a_choice_of_classes_in_its_own_order() -> None:
    lines: list[str] = []
    few = narrowed(four(), ("c", "a"), lines.append)
    assert few.classes == ("c", "a")
    assert [(e.name, e.label) for e in few.examples] == [("0.png", 1), ("2.png", 0), ("3.png", 1)]
    assert lines == ["mine: 1 of its 4 images are of other classes than c, a and are left out"]
    narrowed(four(), ("c", "b", "a"), lines.append)
    assert len(lines) == 1, "nothing was left out"


def test_choices_that_cannot_be_had() -> None:
    for names, told in (
        (("a", "x"), "mine has no class 'x'; the 4 known are a, b, c, d"),
        (("a", "a"), "mine: the class 'a' is there twice"),
        (("d",), "mine has no image of the classes d"),
    ):
        with pytest.raises(DatasetError) as caught:
            narrowed(four(), names, print)
        assert str(caught.value) == told
