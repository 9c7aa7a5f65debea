"""Journals: lines that survive a crash, whatever stands in them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcv.runtime.errors import OutputError
from dlcv.runtime.records.journal import Journal, csv_line, csv_values, escape, forget_lines, unescape, whole_lines

any_text = st.text(st.characters(codec=None), max_size=40)  # surrogates too: they stand for bytes that are not UTF-8


def _key(line: str) -> str | None:
    return None if line.startswith("#") else line.partition(":")[0]


def _write(path: Path, *lines: str, header: str = "") -> None:
    with Journal(path, header) as journal:
        for line in lines:
            journal.append(line)


@given(any_text)
def test_escape_gives_one_printable_line_and_back(text: str) -> None:
    escaped = escape(text)
    assert escaped.isprintable()
    assert unescape(escaped) == text


@given(st.lists(any_text, min_size=1, max_size=5))
def test_csv_values_come_back_from_one_physical_line(values: list[str]) -> None:
    line = csv_line(values)
    assert line.isascii() or line.rstrip("\n").isprintable()
    assert line.count("\n") == 1
    assert csv_values(line) == values


@pytest.mark.parametrize("line", ["\\x", "\\u12", "\\N{no such}", "a\\"])
def test_what_is_no_escape_is_given_back(line: str) -> None:
    assert unescape(line) == line


def test_a_line_is_with_the_operating_system_at_once(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", "header\n") as journal:
        journal.append("a\n")
        assert (tmp_path / "j").read_text() == "header\na\n"


def test_a_torn_line_is_left_out_and_cut_before_the_next(tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes("ä\nb\nté".encode()[:-1])
    assert list(whole_lines(tmp_path / "j")) == ["ä\n", "b\n"]
    _write(tmp_path / "j", "c\n")
    assert (tmp_path / "j").read_text() == "ä\nb\nc\n"


def test_a_whole_file_that_is_opened_keeps_its_time(tmp_path: Path) -> None:
    _write(tmp_path / "j", "a:1\n", header="#\n")
    os.utime(tmp_path / "j", (1, 1))
    _write(tmp_path / "j", header="#\n")
    forget_lines(tmp_path / "j", "#\n", {"b"}, _key)
    assert (tmp_path / "j").stat().st_mtime == 1


@pytest.mark.parametrize("header", ["", "#\n"])
def test_forget_takes_rows_out_and_leaves_one_a_tile(tmp_path: Path, header: str) -> None:
    _write(tmp_path / "j", "a:1\n", "b:1\n", "a:2\n", "c:1\n", "#no row\n", header=header)
    forget_lines(tmp_path / "j", header, {"c", "not there"}, _key)
    assert (tmp_path / "j").read_text() == f"{header}a:2\nb:1\n"


def test_what_cannot_be_read_or_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"^cannot read .*none: .*; start again with --overwrite$"):
        list(whole_lines(tmp_path / "none"))
    with pytest.raises(OutputError, match=r"^cannot write .*: Is a directory$"):
        Journal(tmp_path).__enter__()
