"""The output folder: one run at a time, continued or refused in words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dlcv.runtime.errors import OutputError, UsageError
from dlcv.runtime.records.manifest import DONE, FAILED, Manifest, Row
from dlcv.runtime.records.output_names import LOCK, SUMMARY, TABLES
from dlcv.runtime.run.folder import RunFolder
from dlcv.runtime.tiles.earlier_runs import MANIFEST, RUN

IDENTITY = {"engine_sha256": "abc", "fit": "windows", "overlap": 0.25, "scale_16bit": None}


def _run(folder: Path, *rows: Row) -> None:
    with RunFolder(folder, IDENTITY) as run, Manifest(run.manifest) as manifest:
        for row in rows:
            manifest.add(row)


def test_a_fresh_folder(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "a/b", IDENTITY) as run:
        assert run.done() == {}
        assert json.loads((tmp_path / "a/b" / RUN).read_text()) == {"written_by": "dlcv-infer"} | IDENTITY
        run.write_summary({"tiles": 3})
    assert json.loads((tmp_path / "a/b" / SUMMARY).read_text()) == {"tiles": 3}


def test_a_folder_with_a_run_is_refused_unless_resumed_or_overwritten(tmp_path: Path) -> None:
    _run(tmp_path, Row("a", DONE, "a.png"))
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(
        UsageError, match="holds a run already; go on with it by --resume, start again with --overwrite, or"
    ):
        RunFolder(tmp_path, IDENTITY).__enter__()
    with RunFolder(tmp_path, IDENTITY, resume=True) as run:
        assert run.done() == {"a": Row("a", DONE, "a.png")}
    with RunFolder(tmp_path, IDENTITY, overwrite=True) as run:
        assert run.done() == {}
        assert not (tmp_path / MANIFEST).exists()


def test_a_tile_is_done_whose_last_row_says_so(tmp_path: Path) -> None:
    _run(
        tmp_path, Row("a", DONE, "a.png"), Row("gone", DONE, "gone.png"), Row("gone", FAILED, reason="x"),
        Row("was bad", FAILED, reason="x"), Row("was bad", DONE, "b.png"),
    )  # fmt: skip
    with RunFolder(tmp_path, IDENTITY, resume=True) as run:
        assert run.done() == {"a": Row("a", DONE, "a.png"), "was bad": Row("was bad", DONE, "b.png")}


@pytest.mark.parametrize(("name", "value"), [("engine_sha256", "def"), ("fit", "pad"), ("scale_16bit", [0, 9])])
def test_resume_with_another_setting_is_refused_by_name(tmp_path: Path, name: str, value: object) -> None:
    _run(tmp_path, Row("a", DONE, "a.png"))
    with pytest.raises(
        UsageError, match=rf"holds a run with other settings: {name} \(.*, now .*\); start again with --overwrite"
    ):
        RunFolder(tmp_path, {**IDENTITY, name: value}, resume=True).__enter__()


def test_resume_without_a_manifest_is_not_told_to_resume(tmp_path: Path) -> None:
    _run(tmp_path, Row("a", DONE, "a.png"))
    (tmp_path / "manifest.csv").unlink()
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(
        UsageError, match=r"but its manifest\.csv is gone, .* is done; start again with --overwrite, or name"
    ):
        RunFolder(tmp_path, IDENTITY, resume=True).__enter__()


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff", b"[1]"])
def test_resume_without_a_readable_run_json(tmp_path: Path, content: bytes | None) -> None:
    _run(tmp_path, Row("a", DONE, "a.png"))
    (tmp_path / RUN).unlink() if content is None else (tmp_path / RUN).write_bytes(content)
    with pytest.raises((OutputError, UsageError), match="start again with --overwrite"):
        RunFolder(tmp_path, IDENTITY, resume=True).__enter__()


def test_resume_where_nothing_is_begins(tmp_path: Path) -> None:
    with RunFolder(tmp_path, IDENTITY, resume=True) as run:
        assert run.done() == {}


def test_a_second_run_is_refused_while_the_first_is_at_work(tmp_path: Path) -> None:
    second = RunFolder(tmp_path, IDENTITY, overwrite=True)
    with (
        RunFolder(tmp_path, IDENTITY),
        pytest.raises(UsageError, match="is in use by another run of dlcv-infer; wait for it"),
    ):
        second.__enter__()
    with second:
        pass


def test_overwrite_takes_every_table_away(tmp_path: Path) -> None:
    _run(tmp_path, Row("a", FAILED, reason="x"))  # no row names the table that is there
    (tmp_path / "gallery").mkdir()
    for name in TABLES:
        (tmp_path / name).write_text("path\n")
    with pytest.raises(UsageError, match="holds a run already"):
        RunFolder(tmp_path, IDENTITY).__enter__()
    with RunFolder(tmp_path, IDENTITY, resume=True):
        assert all((tmp_path / name).exists() for name in TABLES)
    with RunFolder(tmp_path, IDENTITY, overwrite=True):
        assert not any((tmp_path / name).exists() for name in TABLES)


def test_overwrite_takes_away_what_stands_beside_the_answers_and_nothing_else(tmp_path: Path) -> None:
    names = ("a.png", "overlays/a.jpg", "confidence/a.png", "polygons/a.geojson", "overlays/b.jpg")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    kinds = ("overlays.jpg", "confidence.png")
    with RunFolder(tmp_path, IDENTITY, kinds=kinds) as run, Manifest(run.manifest) as manifest:
        manifest.add(Row("a", DONE, "a.png"))
        manifest.add(Row("../a", DONE, "a.png"))
    with RunFolder(tmp_path, IDENTITY, overwrite=True):
        left = [name for name in names if (tmp_path / name).exists()]
    assert left == ["polygons/a.geojson", "overlays/b.jpg"], "one kind was not the run's, one tile neither"


def test_overwrite_removes_nothing_outside_the_folder(tmp_path: Path) -> None:
    """A manifest may come from elsewhere, with the folder; what it lists must not make this run delete other files."""
    folder, beside, elsewhere = tmp_path / "out", tmp_path / "beside.png", tmp_path / "elsewhere.png"
    folder.mkdir()
    for path in (beside, elsewhere, folder / "mine.png"):
        path.write_text("x")
    _run(folder, Row("a", DONE, "../beside.png"), Row("b", DONE, str(elsewhere)), Row("c", DONE, "mine.png"))
    with RunFolder(folder, IDENTITY, overwrite=True):
        left = [path.name for path in (beside, elsewhere, folder / "mine.png") if path.exists()]
    assert left == ["beside.png", "elsewhere.png"]


def test_overwrite_where_a_file_has_the_name_of_a_folder(tmp_path: Path) -> None:
    _run(tmp_path, Row("a", DONE, "gallery"))
    (tmp_path / "gallery").write_text("a mask by that name")
    with RunFolder(tmp_path, IDENTITY, overwrite=True):
        assert not (tmp_path / "gallery").exists()


def test_a_killed_run_leaves_the_folder_free(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from dlcv.runtime.run.folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1]), {}): print('locked', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "locked\n"
            with pytest.raises(UsageError, match="is in use"):
                RunFolder(tmp_path, {}).__enter__()
        finally:
            process.kill()
    with RunFolder(tmp_path, {}):
        pass


def test_a_refused_run_frees_the_folder_and_changes_nothing(tmp_path: Path) -> None:
    _run(tmp_path, Row("a", DONE, "a.png"))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UsageError):
        RunFolder(tmp_path, IDENTITY).__enter__()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    with RunFolder(tmp_path, IDENTITY, resume=True):
        pass


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=r"cannot make the folder .*file: .*; choose another with --output"):
        RunFolder(tmp_path / "file", IDENTITY).__enter__()
    (tmp_path / "d" / LOCK).mkdir(parents=True)  # opening it fails as it would without permission
    with pytest.raises(OutputError, match=r"cannot write in .*/d: Is a directory; choose another folder with --output"):
        RunFolder(tmp_path / "d", IDENTITY).__enter__()


def test_brackets_in_brackets_are_no_run(tmp_path: Path) -> None:
    _run(tmp_path)
    (tmp_path / RUN).write_text("[" * 100_000)
    with pytest.raises(OutputError, match=r"run\.json cannot be read \(.*; start again with --overwrite"):
        RunFolder(tmp_path, IDENTITY, resume=True).__enter__()
    with RunFolder(tmp_path, IDENTITY, overwrite=True):
        assert json.loads((tmp_path / RUN).read_text())["written_by"] == "dlcv-infer"
