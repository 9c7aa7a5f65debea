"""Runs that are stopped from outside: Ctrl-C, kill -9, a full disk. In processes of their own."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlcv.runtime.masks import read_mask
from dlcv.runtime.records.manifest import DONE, Row, read_manifest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and /dev/full of a Unix")
TILES = 90

ONE = ("--decoders", "1")
"""However many cores there are, a slow run takes seconds."""
SLOW = """
import time
import dlcv.runtime.tiles.decode as decode
real = decode.decode_file
decode.decode_file = lambda *a: (time.sleep(0.03), real(*a))[1]
"""
FULL_AFTER_5 = """
import builtins, dlcv.runtime.files as files
opened = []
def full(path, mode):  # the kernel itself says that there is no space
    opened.append(path)
    return builtins.open(path if len(opened) <= 6 else "/dev/full", mode)
files.open = full
"""
JOURNAL_FULL_AFTER_5 = """
import builtins, dlcv.runtime.records.journal as journal
real = journal.Journal._write
count = []
def write(self, text):
    if self._path.name == FULL:
        count.append(text)
        if len(count) == 6:
            self._file.close()
            self._file = builtins.open("/dev/full", "a")
    real(self, text)
journal.Journal._write = write
"""


@pytest.fixture
def many_tiles(tile_folder: Path, tmp_path: Path) -> Path:
    """90 tiles in three folders: links to six."""
    sources = sorted(tile_folder.rglob("*.png"))
    folder = tmp_path / "many"
    for k in range(TILES):
        path = folder / f"f{k % 3}" / f"t{k:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(sources[k % len(sources)], path)
    return folder


@pytest.fixture
def start(
    command_line: Callable[..., list[str]], command_env: dict[str, str], many_tiles: Path, tiny_onnx: Path
) -> Callable[..., subprocess.Popen[str]]:
    def start(output: Path, *options: str, before: str = "", engine: Path = tiny_onnx) -> subprocess.Popen[str]:
        arguments = (many_tiles, "--engine", engine, "--output", output, "--device", "cpu", *options)
        return subprocess.Popen(
            command_line("dlcv-infer", *arguments, before=before), stderr=subprocess.PIPE, text=True, env=command_env
        )

    return start


def rows_of(folder: Path) -> list[Row]:
    return list(read_manifest(folder / "manifest.csv"))


def wait_for_rows(process: subprocess.Popen[str], folder: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "the run ended before it could be stopped"
        if (folder / "manifest.csv").exists() and len(rows_of(folder)) >= count:
            return
        time.sleep(0.01)
    raise AssertionError("the run does not get on")


def check_whole(folder: Path) -> int:
    """Every row is whole and its mask readable; returns how many there are."""
    text = (folder / "manifest.csv").read_bytes()
    assert text.endswith(b"\n")
    rows = rows_of(folder)
    assert len({row.path for row in rows}) == len(rows) == text.count(b"\n") - 1
    for row in rows:
        assert row.status == DONE
        assert read_mask(folder / row.output).shape == (64, 64)
    return len(rows)


def check_complete(folder: Path, undisturbed: Path) -> None:
    """The folder holds what a run that nobody stopped leaves, byte by byte."""
    assert check_whole(folder) == TILES
    assert sorted(rows_of(folder), key=lambda row: row.path) == sorted(rows_of(undisturbed), key=lambda row: row.path)
    for row in rows_of(undisturbed):
        assert (folder / row.output).read_bytes() == (undisturbed / row.output).read_bytes()
    names = [sorted(path.relative_to(base) for path in base.rglob("*")) for base in (folder, undisturbed)]
    assert names[0] == names[1]
    facts = json.loads((folder / "summary.json").read_text())
    assert (facts["tiles"], facts["done"], facts["failed"], facts["complete"]) == (TILES, TILES, 0, True)


def finished(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit code and what it wrote to stderr, but for the line that says what the tiles go through."""
    _, err = process.communicate(timeout=60)
    return process.returncode, re.sub(r"\A\d+ tiles? through [^\n]+\n", "", err)


def test_ctrl_c_and_kill_leave_whole_tiles_and_resume_gives_the_same(start: Callable[..., Any], tmp_path: Path) -> None:
    undisturbed, interrupted, killed = (tmp_path / name for name in ("undisturbed", "interrupted", "killed"))
    code, err = finished(start(undisturbed))
    assert code == 0, err
    check_complete(undisturbed, undisturbed)

    with start(interrupted, *ONE, before=SLOW) as process:
        wait_for_rows(process, interrupted, 10)
        process.send_signal(signal.SIGINT)
        code, err = finished(process)
    assert code == 130
    assert re.fullmatch(r"dlcv-infer: interrupted; finished tiles are whole and in \S+; go on with --resume\n", err)
    done = check_whole(interrupted)
    assert 10 <= done < TILES
    assert not list(interrupted.rglob("*.partial"))
    masks = {path.relative_to(interrupted).as_posix() for path in interrupted.rglob("*.png")}
    # the signal may fall between a mask and its row, or between the row and the count: one tile at most
    assert masks >= {row.output for row in rows_of(interrupted)}
    assert len(masks) <= done + 1
    facts = json.loads((interrupted / "summary.json").read_text())
    assert (facts["tiles"], facts["complete"]) == (TILES, False)
    assert abs(facts["done"] - done) <= 1

    with start(killed, *ONE, before=SLOW) as process:
        wait_for_rows(process, killed, 10)
        process.kill()
        assert finished(process)[0] == -signal.SIGKILL
    assert not (killed / "summary.json").exists()

    for folder in (interrupted, killed):
        code, err = finished(start(folder, "--resume"))
        assert code == 0, err
        assert "of them before), 0 failed" in err
        check_complete(folder, undisturbed)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(
    "fault", [FULL_AFTER_5, 'FULL = "manifest.csv"' + JOURNAL_FULL_AFTER_5], ids=["masks", "manifest"]
)
def test_a_full_disk_is_a_sentence_and_masks_are_whole(start: Callable[..., Any], tmp_path: Path, fault: str) -> None:
    code, err = finished(start(tmp_path / "m", before=fault))
    assert code == 2
    assert err.startswith("dlcv-infer: cannot write ")
    assert err.endswith(f": {os.strerror(errno.ENOSPC)}\n")
    assert err.count("\n") == 1
    assert check_whole(tmp_path / "m") <= 5
    assert not list((tmp_path / "m").rglob("*.partial"))
    for path in (tmp_path / "m").rglob("*.png"):
        assert read_mask(path).shape == (64, 64)
    assert finished(start(tmp_path / "m", "--resume"))[0] == 0
    assert check_whole(tmp_path / "m") == TILES


# classification


def predictions_of(folder: Path, form: str) -> dict[str, str]:
    """The raw line of each whole row by its path; a tile has at most one."""
    lines = (folder / f"predictions.{form}").read_text().splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")][form == "csv" :]
    paths = [next(csv.reader([line]))[0] if form == "csv" else json.loads(line)["path"] for line in whole]
    assert len(set(paths)) == len(paths)
    return dict(zip(paths, whole, strict=True))


def check_predictions(folder: Path, undisturbed: Path, form: str) -> None:
    """The folder holds what a run that nobody stopped leaves: the same rows, each once, in any order."""
    expected = predictions_of(undisturbed, form)
    assert len(expected) == TILES
    assert predictions_of(folder, form) == expected
    assert (folder / f"predictions.{form}").read_bytes().endswith(b"\n")
    assert {row.path: row.status for row in rows_of(folder)} == dict.fromkeys(expected, DONE)
    assert len(rows_of(folder)) == TILES
    assert {path.name for path in folder.iterdir()} == {path.name for path in undisturbed.iterdir()}
    facts, whole = (json.loads((path / "summary.json").read_text()) for path in (folder, undisturbed))
    assert (facts["done"], facts["failed"], facts["complete"]) == (TILES, 0, True)
    assert facts["images"] == whole["images"]
    assert sum(facts["images"].values()) == TILES


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_predictions_survive_ctrl_c_and_kill(
    start: Callable[..., Any], tmp_path: Path, colour_engine: Path, form: str
) -> None:
    def classify(output: Path, *options: str, before: str = "") -> Any:
        return start(output, "--format", form, *options, before=before, engine=colour_engine)

    undisturbed, interrupted, killed = (tmp_path / name for name in ("undisturbed", "interrupted", "killed"))
    code, err = finished(classify(undisturbed))
    assert code == 0, err
    check_predictions(undisturbed, undisturbed, form)

    with classify(interrupted, *ONE, before=SLOW) as process:
        wait_for_rows(process, interrupted, 10)
        process.send_signal(signal.SIGINT)
        code, err = finished(process)
    assert code == 130, err
    facts = json.loads((interrupted / "summary.json").read_text())
    assert (facts["tiles"], facts["complete"]) == (TILES, False)

    resuming = ("--resume",)
    for round_number in range(3):  # killed, resumed, killed in that, and again
        with classify(killed, *(resuming if round_number else ()), *ONE, before=SLOW) as process:
            wait_for_rows(process, killed, 10 * (round_number + 1))
            process.kill()
            assert finished(process)[0] == -signal.SIGKILL
        there = predictions_of(killed, form)
        done = {row.path for row in rows_of(killed)}
        assert done <= set(there), "a prediction is written before its row in the manifest"
        assert len(there) <= len(done) + 1

    for folder in (interrupted, killed):
        code, err = finished(classify(folder, "--resume"))
        assert code == 0, err
        assert "of them before), 0 failed" in err
        check_predictions(folder, undisturbed, form)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("full", ["manifest.csv", "predictions.csv"])
def test_a_full_disk_is_a_sentence_and_predictions_are_whole(
    start: Callable[..., Any], tmp_path: Path, colour_engine: Path, full: str
) -> None:
    folder, undisturbed = tmp_path / "p", tmp_path / "undisturbed"
    code, err = finished(start(folder, before=f"FULL = {full!r}{JOURNAL_FULL_AFTER_5}", engine=colour_engine))
    assert code == 2
    assert err == f"dlcv-infer: cannot write {folder / full}: {os.strerror(errno.ENOSPC)}\n"
    assert {row.path for row in rows_of(folder)} <= set(predictions_of(folder, "csv"))
    assert len(rows_of(folder)) == 4
    for output, *options in ((folder, "--resume"), (undisturbed,)):
        assert finished(start(output, *options, engine=colour_engine))[0] == 0
    check_predictions(folder, undisturbed, "csv")
