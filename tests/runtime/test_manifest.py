"""The manifest: what goes in comes out, whatever a file is called and wherever the power failed."""

from __future__ import annotations

import csv
import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcv.runtime.errors import OutputError
from dlcv.runtime.manifest import COLUMNS, DONE, FAILED, Manifest, Row, forget, read_manifest

HOSTILE = [
    "new\nline", "cr\rlf\r\n", "comma,semicolon;", "quote\"and'", "back\\slash\\n", "\udcff\udcfe", "-dash", "=1+1", " space ",
    "\x00\x1b[31m", "\x85\u2028\u2029", "é中🛰", "x" * 250, "\\", "\\\\udcff", '"',
]  # fmt: skip

any_text = st.text(st.characters(codec=None), max_size=40)  # surrogates too: they stand for bytes that are not UTF-8


def _write(path: Path, *rows: Row) -> None:
    with Manifest(path) as manifest:
        for row in rows:
            manifest.add(row)


@given(st.lists(st.builds(Row, any_text, st.sampled_from([DONE, FAILED]), any_text, any_text), max_size=6))
def test_rows_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> None:
    path = tmp_path_factory.mktemp("m") / "manifest.csv"
    _write(path, *rows)
    assert list(read_manifest(path)) == rows
    assert len(path.read_bytes().split(b"\n")) == len(rows) + 2, "a row is one physical line"


def test_hostile_names_come_back(tmp_path: Path) -> None:
    rows = [Row(name, DONE, f"{name}.png") for name in HOSTILE]
    _write(tmp_path / "m.csv", *rows)
    assert list(read_manifest(tmp_path / "m.csv")) == rows


def test_it_is_a_plain_csv_for_others(tmp_path: Path) -> None:
    _write(
        tmp_path / "m.csv", Row("a,b.jpg", DONE, "a,b.jpg.png"), Row('say "x".jpg', FAILED, reason="the file is empty")
    )
    with open(tmp_path / "m.csv", encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"path": "a,b.jpg", "status": "done", "output": "a,b.jpg.png", "reason": ""},
            {"path": 'say "x".jpg', "status": "failed", "output": "", "reason": "the file is empty"},
        ]


def test_a_row_is_with_the_operating_system_at_once(tmp_path: Path) -> None:
    with Manifest(tmp_path / "m.csv") as manifest:
        manifest.add(Row("a", DONE, "a.png"))
        assert list(read_manifest(tmp_path / "m.csv")) == [Row("a", DONE, "a.png")]


def test_torn_anywhere_only_the_last_row_is_lost(tmp_path: Path) -> None:
    first, torn, later = (
        Row("ä,1.jpg", DONE, "ä,1.jpg.png"),
        Row("é中\udcff", FAILED, reason="damäged"),
        Row("z", DONE, "z.png"),
    )
    _write(tmp_path / "whole.csv", first, torn)
    whole = (tmp_path / "whole.csv").read_bytes()
    end_of_first = whole[:-1].rindex(b"\n") + 1
    for cut in range(end_of_first, len(whole)):
        path = tmp_path / f"{cut}.csv"
        path.write_bytes(whole[:cut])
        assert list(read_manifest(path)) == [first], f"cut at byte {cut}"
        _write(path, later)
        assert list(read_manifest(path)) == [first, later]


@pytest.mark.parametrize("start", [b"", b"pat", b"path,status,output,reason"])
def test_torn_in_the_header_it_is_begun_again(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(start)
    assert list(read_manifest(path)) == []
    _write(path, Row("a", DONE, "a.png"))
    assert list(read_manifest(path)) == [Row("a", DONE, "a.png")]


def test_forget_takes_rows_out_and_leaves_one_a_tile(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    _write(
        path,
        Row("a", FAILED, reason="x"),
        Row("b", DONE, "b.png"),
        Row("a", DONE, "a.png"),
        Row("c", FAILED, reason="y"),
    )
    forget(path, {"c", "not there"})
    assert list(read_manifest(path)) == [Row("a", DONE, "a.png"), Row("b", DONE, "b.png")]
    _write(path, Row("c", DONE, "c.png"))
    assert [row.path for row in read_manifest(path)] == ["a", "b", "c"]


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"\xff\xfe\xff\n", b"\x89PNG\r\n\x1a\n"])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(content)
    with pytest.raises(OutputError, match=r"m\.csv"):
        list(read_manifest(path))


def test_the_columns_are_named_where_they_differ(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("x,y\n")
    with pytest.raises(
        OutputError, match=f"is not a manifest of dlcv-infer; expected the columns {', '.join(COLUMNS)}"
    ):
        list(read_manifest(tmp_path / "m.csv"))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = Manifest(tmp_path / "m.csv")
    manifest.__enter__()
    assert manifest._file is not None
    manifest._file.close()
    manifest._file = open("/dev/full", "a", encoding="utf-8")  # noqa: SIM115 - closed by the manifest
    with pytest.raises(OutputError, match=rf"cannot write .*m\.csv: {os.strerror(errno.ENOSPC)}"):
        manifest.add(Row("a", DONE, "a.png"))
    with pytest.raises(OutputError):
        manifest.__exit__(None, None, None)
