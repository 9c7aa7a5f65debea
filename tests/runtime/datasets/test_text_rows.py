"""Rows of text files: any length, quotes, and every fault told with its row."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from dlcv.runtime.datasets.text_rows import csv_rows, listed, shown
from dlcv.runtime.errors import DatasetError


def written(folder: Path, content: bytes) -> Path:
    (folder / "t.csv").write_bytes(content)
    return folder / "t.csv"


def refusal(path: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        list(csv_rows(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_rows_carry_the_numbers_of_their_lines(tmp_path: Path) -> None:
    path = written(tmp_path, b"\xef\xbb\xbfa,b\r\n\r\n1,2\n  \n3,")
    assert list(csv_rows(path)) == [(1, ["a", "b"]), (3, ["1", "2"]), (5, ["3", ""])]


@pytest.mark.parametrize(
    "fields", [["a,b", "c"], ['say "x"', ""], ["", '"'], ["a", "b"], [" a ", "é,\u2028"], ['""', ",,"], ["a\tb", "'"]]
)
def test_quotes_are_read_as_they_are_written(tmp_path: Path, fields: list[str]) -> None:
    with open(tmp_path / "t.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerow(fields)
    assert list(csv_rows(tmp_path / "t.csv")) == [(1, fields)]


def test_long_fields_need_no_limit_of_the_whole_process(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    long = "x" * (3 * limit)
    path = written(tmp_path, f'a,b\n{long},"{long},""y"""\n'.encode())
    assert list(csv_rows(path))[1] == (2, [long, f'{long},"y"'])
    assert csv.field_size_limit() == limit


def test_faults(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    assert refusal(path) == f"cannot read {path}: No such file or directory"
    assert refusal(tmp_path) == f"cannot read {tmp_path}: Is a directory"
    for empty in (b"", b"\n \r\n", b"\xef\xbb\xbf"):
        assert refusal(written(tmp_path, empty)) == f"{path} is empty; expected a header and rows below it"
    assert refusal(written(tmp_path, b"a,b\n1,2\n3\n")) == f"{path}, row 3: 1 fields, expected 2 as in the header"
    assert refusal(written(tmp_path, b"a,b\n1\0,2")).startswith(f"{path}, row 2: a NUL byte, expected UTF-8 text")
    assert refusal(written(tmp_path, b"a,b\nM\xfcller,2")).startswith(f"{path}, row 2: byte 2 is not UTF-8")
    assert "row 1: " in refusal(written(tmp_path, "a,b\n1,2".encode("utf-16")))
    for quote in (b'"a,b', b'a"b,c', b'"a"b,c', b'"a\nb",c'):
        assert refusal(written(tmp_path, quote)).startswith(f"{path}, row 1: a quote that is not closed, or stands")


def test_what_others_wrote_is_shown_on_one_short_line() -> None:
    assert shown("a\nb\udcff\x1b") == "'a\\nb\\udcff\\x1b'"
    assert shown("x" * 100) == repr("x" * 60) + "..."
    assert listed([str(k) for k in range(14)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 2 more"
