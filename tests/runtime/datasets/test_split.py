"""The split: stratified, by name and seed alone, and kept in a file that gives the names back."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from dlcv.runtime.datasets.split import read_split, split_folders, stratified, validation_folder, write_split
from dlcv.runtime.errors import DatasetError


def chosen(names: list[str], labels: list[int], share: float = 0.2, seed: int = 0) -> set[str]:
    return {name for name, v in zip(names, stratified(names, labels, share, seed), strict=True) if v}


def test_each_class_gives_its_share() -> None:
    labels = [0] * 100 + [1] * 10 + [2] * 4 + [3] * 2 + [4]
    names = [f"{label}/{k}" for k, label in enumerate(labels)]
    validates = stratified(names, labels, 0.2, 0)
    assert [sum(v for v, label in zip(validates, labels, strict=True) if label == k) for k in range(5)] == [
        20,
        2,
        1,
        1,
        0,
    ]


def test_names_and_seed_alone_decide() -> None:
    names, labels = [f"n{k}" for k in range(60)], [k % 3 for k in range(60)]
    first = chosen(names, labels)
    assert chosen(names[::-1], labels[::-1]) == first
    assert chosen(names, labels, seed=1) != first
    assert first < chosen(names, labels, share=0.5)
    for label in range(3):  # 4 of 20: the smallest hashes of all
        order = sorted(names[label::3], key=lambda name: hashlib.sha256(f"0:{name}".encode()).hexdigest())
        assert set(order[:4]) == first & set(names[label::3])


@pytest.mark.parametrize("share", [0.0, 0.001, 0.999, 1.0])
def test_no_side_of_a_class_is_empty(share: float) -> None:
    assert 1 <= len(chosen(["a", "b", "c", "d"], [0] * 4, share)) <= 3


def test_names_that_are_not_utf8() -> None:
    assert len(chosen(["a\udcff", "b"], [0, 0])) == 1


def test_folders(tmp_path: Path) -> None:
    assert split_folders(tmp_path) is None and validation_folder(tmp_path) is None
    (tmp_path / "test").mkdir()
    assert split_folders(tmp_path) is None and validation_folder(tmp_path) is None
    (tmp_path / "train").mkdir()
    for name in ("test", "valid", "val", "validation"):
        (tmp_path / name).mkdir(exist_ok=True)
        assert split_folders(tmp_path) == (tmp_path / "train", tmp_path / name)
        assert validation_folder(tmp_path) == tmp_path / name
    (tmp_path / "train").rmdir()
    assert validation_folder(tmp_path) == tmp_path / "validation"


NAMES = [
    "a/b.png",
    'say "x", y.png',
    "new\nline",
    "back\\slash",
    "\\n",
    "\udcff",
    "é\u2028",
    " spaces ",
    "row 12",
    "\U0001f600",
    "\x00",
]


def test_a_split_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "split.csv"
    write_split(path, NAMES, ["v", *NAMES[:2]])
    assert read_split(path) == (NAMES, ["v", *NAMES[:2]])
    assert path.read_bytes().count(b"\n") == 1 + len(NAMES) + 3
    write_split(path, [], [])
    assert read_split(path) == ([], [])
    assert [p.name for p in tmp_path.iterdir()] == ["split.csv"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", " is empty; expected a header and rows below it"),
        ("file,label\n", ", row 1: the columns are 'file,label', expected name,split; it is no run's split.csv"),
        ("name,split\na,test\n", ", row 2: the split 'test', expected train or validation"),
        ("name,split\na,train\nb,train\na,train\n", ": rows 2 and 4 both name 'a'; expected each once"),
        ("name,split\na\\q,train\n", ", row 2: 'a\\\\q' is no name as a run writes it; take the run's own split.csv"),
        ("name,split\na\\U99999999,train\n", ", row 2: 'a\\\\U99999999' is no name as a run writes it; take the run's own split.csv"),
        ("name,split\n,train\n", ", row 2: '' is no name as a run writes it; take the run's own split.csv"),
        ("name,split\na\n", ", row 2: 1 fields, expected 2 as in the header"),
    ],
)  # fmt: skip
def test_files_that_are_no_split(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "split.csv"
    path.write_text(text)
    with pytest.raises(DatasetError) as caught:
        read_split(path)
    assert str(caught.value) == f"{path}{told}"
