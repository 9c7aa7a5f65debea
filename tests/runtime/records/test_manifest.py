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
from dlcv.runtime.records.manifest import COLUMNS, DONE, FAILED, OLDER, Manifest, Row, forget, read_manifest
from dlcv.runtime.tiles.tile_list import Fingerprint

HOSTILE = [
    "new\nline", "cr\rlf\r\n", "comma,semicolon;", "quote\"and'", "back\\slash\\n", "\udcff\udcfe", "-dash", "=1+1", " space ",
    "\x00\x1b[31m", "\x85\u2028\u2029", "é中🛰", "x" * 250, "\\", "\\\\udcff", '"',
]  # fmt: skip

any_text = st.text(st.characters(codec=None), max_size=40)  # surrogates too: they stand for bytes that are not UTF-8
any_tile = st.none() | st.builds(Fingerprint, st.integers(0, 1 << 63), st.integers(-(1 << 63), 1 << 63))
any_size = st.none() | st.integers(0, 1 << 63)
any_row = st.builds(Row, any_text, st.sampled_from([DONE, FAILED]), any_text, any_text, any_tile, any_size, any_size)


def _write(path: Path, *rows: Row) -> None:
    with Manifest(path) as manifest:
        for row in rows:
            manifest.add(row)


@given(st.lists(any_row, max_size=6))
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
        tmp_path / "m.csv",
        Row("a,b.jpg", DONE, "a,b.jpg.png", tile=Fingerprint(7, -9), output_size=70, beside_size=81),
        Row('say "x".jpg', FAILED, reason="the file is empty"),
    )
    with open(tmp_path / "m.csv", encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == [
            {
                "path": "a,b.jpg",
                "status": "done",
                "output": "a,b.jpg.png",
                "reason": "",
                "size": "7",
                "mtime_ns": "-9",
                "output_size": "70",
                "beside_size": "81",
            },
            {
                "path": 'say "x".jpg',
                "status": "failed",
                "output": "",
                "reason": "the file is empty",
                "size": "",
                "mtime_ns": "",
                "output_size": "",
                "beside_size": "",
            },
        ]


OLD = b'path,status,output,reason\na,done,a.png,\n"b,1",failed,,"x, y"\n'
OLD_ROWS = [Row("a", DONE, "a.png"), Row("b,1", FAILED, reason="x, y")]
LATER = b'path,status,output,reason,size,mtime_ns\na,done,a.png,,7,-9\n"b,1",failed,,"x, y",,\n'
LATER_ROWS = [OLD_ROWS[0]._replace(tile=Fingerprint(7, -9)), OLD_ROWS[1]]


@pytest.mark.parametrize("torn", [b"", b"c,done"])
@pytest.mark.parametrize(("old", "rows"), [(OLD, OLD_ROWS), (LATER, LATER_ROWS)])
def test_a_manifest_of_an_earlier_release_is_read_and_continued(
    tmp_path: Path, torn: bytes, old: bytes, rows: list[Row]
) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(old + torn)
    assert list(read_manifest(path)) == rows
    assert path.read_bytes() == old + torn, "reading writes nothing"
    new = Row("c", DONE, "c.png", tile=Fingerprint(1, 2))
    _write(path, new)
    assert list(read_manifest(path)) == [*rows, new]
    with open(path, encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)
    assert (tuple(header), {len(row) for row in lines}) == (COLUMNS, {len(COLUMNS)}), "one table for whoever reads it"
    assert tuple(old.decode().partition("\n")[0].split(",")) in OLDER


def test_rows_of_an_earlier_release_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(OLD)
    forget(path, {"a"})
    assert list(read_manifest(path)) == OLD_ROWS[1:]


@pytest.mark.parametrize("facts", ["1,x", ",5", "1,", "," + "9" * 5000])
def test_numbers_that_are_none_are_not_known(tmp_path: Path, facts: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text(",".join(COLUMNS) + f"\na,done,a.png,,{facts},,\nb,done,b.png,,1,2,{facts}\n")
    first, second = read_manifest(path)
    assert first == Row("a", DONE, "a.png")
    assert second.tile == Fingerprint(1, 2)
    assert None in (second.output_size, second.beside_size)


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
