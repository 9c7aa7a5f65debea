"""Predictions as lines of CSV and JSON, for hostile names too."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcv.runtime.errors import OutputError
from dlcv.runtime.outputs.predictions import FORMATS, Prediction, prediction_of

any_text = st.text(st.characters(codec=None), max_size=40)
CLASSES = ("annual crop", 'say "x", y', "new\nline", "\\back")
PROBS = np.array([0.125, 0.5, 1 / 3, 1e-7], np.float32)


def test_the_most_probable_come_first_and_of_equal_ones_the_lower_index() -> None:
    found = prediction_of("a", PROBS, "abcd", 3)
    assert found == Prediction("a", 1, (("b", 0.5), ("c", 0.333333), ("a", 0.125)))
    ties = prediction_of("a", np.full(4, 0.25, np.float32), "abcd", 2)
    assert (ties.index, ties.top) == (0, (("a", 0.25), ("b", 0.25)))


def test_csv_for_other_programs() -> None:
    form = FORMATS["csv"](3)
    assert form.header == "path,class,probability,class_2,probability_2,class_3,probability_3\n"
    text = form.header + form.line(prediction_of("x,1.jpg", PROBS, ("crop", "a,b", "c", "d"), 3))
    (row,) = csv.DictReader(io.StringIO(text))
    assert row == {
        "path": "x,1.jpg", "class": "a,b", "probability": "0.5", "class_2": "c", "probability_2": "0.333333",
        "class_3": "crop", "probability_3": "0.125",
    }  # fmt: skip


def test_small_probabilities_are_kept_to_six_digits() -> None:
    probs = np.array([1.2345678e-7, 0.99999988], np.float32)
    line = FORMATS["csv"](2).line(prediction_of("a", probs, "ab", 2))
    assert line == "a,b,1,a,1.23457e-07\n"


def test_json_lines() -> None:
    line = FORMATS["jsonl"](2).line(prediction_of("é\udcff.jpg", PROBS, CLASSES, 2))
    assert line.isascii()
    values = json.loads(line)
    assert values == {
        "path": "é\udcff.jpg", "class": CLASSES[1], "index": 1, "probability": 0.5,
        "top": [{"class": CLASSES[1], "probability": 0.5}, {"class": CLASSES[2], "probability": 0.333333}],
    }  # fmt: skip
    assert os.fsencode(values["path"]) == "é".encode() + b"\xff.jpg"


@pytest.mark.parametrize("name", FORMATS)
@given(key=any_text, classes=st.lists(any_text, min_size=4, max_size=4))
def test_any_name_is_one_physical_line_that_gives_it_back(
    tmp_path_factory: pytest.TempPathFactory, name: str, key: str, classes: list[str]
) -> None:
    form = FORMATS[name](4)
    line = form.line(prediction_of(key, PROBS, classes, 4))
    assert line.count("\n") == 1
    assert line.encode().splitlines(), "it can be written as UTF-8"
    assert form.key_of(line) == key
    path = tmp_path_factory.mktemp("p") / form.name
    path.write_bytes((form.header + line).encode())
    assert list(form.classes(path)) == [(key, classes[1])]


@pytest.mark.parametrize("name", FORMATS)
def test_torn_anywhere_only_the_last_row_is_lost(tmp_path: Path, name: str) -> None:
    form = FORMATS[name](2)
    lines = [form.line(prediction_of(key, PROBS, CLASSES, 2)) for key in ("ä,1.jpg", "é中\udcff")]
    whole = (form.header + "".join(lines)).encode()
    path = tmp_path / form.name
    for cut in range(len(whole) - len(lines[1].encode()), len(whole)):
        path.write_bytes(whole[:cut])
        assert list(form.classes(path)) == [("ä,1.jpg", CLASSES[1])], f"cut at byte {cut}"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("csv", b"a,b\n1,2\n"),
        ("csv", b"\xff\xfe\n"),
        ("jsonl", b"[1]\n"),
        ("jsonl", b"hello\n"),
        ("jsonl", b'{"path":1}\n'),
    ],
)
def test_another_file_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / "p").write_bytes(content)
    with pytest.raises(OutputError):
        list(FORMATS[name](2).classes(tmp_path / "p"))


def test_the_columns_are_named_where_they_differ(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(FORMATS["csv"](3).header)
    with pytest.raises(
        OutputError,
        match=r"is not a table of predictions of dlcv-infer; expected the columns path, class, probability$",
    ):
        list(FORMATS["csv"](1).classes(tmp_path / "p.csv"))
