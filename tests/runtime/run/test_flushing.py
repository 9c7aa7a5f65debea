"""`--fsync`: that it is done, when, and what is said where a disk refuses."""

from __future__ import annotations

import ctypes
import errno
import json
import os
from pathlib import Path
from threading import Event

import pytest

from dlcv.runtime.errors import OutputError, UsageError
from dlcv.runtime.run import flushing
from dlcv.runtime.run.flushing import Flushing, flush
from dlcv.runtime.run.inference import InferSettings, infer

needs_sync = pytest.mark.skipif(not hasattr(os, "sync"), reason="a system without sync")


@needs_sync
def test_it_flushes_now_and_then_and_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    twice, flushed = Event(), list[Path]()

    def flush(folder: Path) -> None:
        flushed.append(folder)
        if len(flushed) == 2:
            twice.set()

    monkeypatch.setattr(flushing, "flush", flush)
    monkeypatch.setattr(flushing, "EVERY_S", 0.01)
    with Flushing(tmp_path):
        assert twice.wait(60)
    assert set(flushed) == {tmp_path}
    monkeypatch.setattr(flushing, "EVERY_S", 600.0)
    flushed.clear()
    with Flushing(tmp_path):
        pass
    assert flushed == [tmp_path], "at the end, without waiting for its time"
    with Flushing(None):
        pass
    assert flushed == [tmp_path]


class Library:
    """Stands for the C library: what its `syncfs` was asked, and what it answers; None has no `syncfs`."""

    def __init__(self, answer: int | None) -> None:
        self.asked: list[tuple[int, int]] = []
        if answer is not None:
            self.syncfs = self._syncfs
        self._answer = answer

    def _syncfs(self, place: int) -> int | None:
        facts = os.fstat(place)
        self.asked.append((facts.st_dev, facts.st_ino))
        if self._answer:
            ctypes.set_errno(errno.EIO)
        return self._answer


@needs_sync
def test_the_system_is_asked_for_the_file_system_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(os, "sync", lambda: synced.append(True))
    facts = os.stat(tmp_path)
    for answer in (0, -1, None):
        library = Library(answer)
        monkeypatch.setattr(flushing.ctypes, "CDLL", lambda name, use_errno, library=library: library)
        if answer == -1:
            with pytest.raises(OutputError, match=f"is on the disk: {os.strerror(errno.EIO)}; look at"):
                flush(tmp_path)
        else:
            flush(tmp_path)
        assert library.asked == ([] if answer is None else [(facts.st_dev, facts.st_ino)])
    assert synced == [True], "where there is no syncfs, all file systems"


@needs_sync
def test_a_disk_that_refuses_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(place: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    flush(tmp_path)
    monkeypatch.setattr(flushing, "_sync", refused)
    words = f"not all of {tmp_path} is on the disk: {os.strerror(errno.EIO)}; look at"
    with pytest.raises(OutputError, match=words), Flushing(tmp_path):
        pass
    with pytest.raises(KeyboardInterrupt), Flushing(tmp_path):
        raise KeyboardInterrupt  # what ended the run is told


@needs_sync
def test_a_run_is_on_the_disk_before_its_summary_says_complete(
    tile_folder: Path, tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, bool]] = []

    def sync(place: int) -> None:
        masks, summary = list((tmp_path / "m").rglob("*.png")), tmp_path / "m/summary.json"
        seen.append((len(masks), summary.exists() and json.loads(summary.read_text())["complete"]))

    monkeypatch.setattr(flushing, "_sync", sync)
    given = {"engine": tiny_onnx, "output": tmp_path / "m", "device": "cpu", "quiet": True}
    infer(InferSettings.of(sources=(str(tile_folder),), fsync=True, **given))
    assert seen[-2:] == [(6, False), (6, True)]
    seen.clear()
    infer(InferSettings.of(sources=(str(tile_folder),), overwrite=True, **given))
    assert seen == [], "it is asked for"


def test_where_it_cannot_be_had(tile_folder: Path, tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    def run(**options: object) -> None:
        infer(
            InferSettings.of(
                sources=(str(tile_folder),), engine=tiny_onnx, output=tmp_path / "m", fsync=True, **options
            )
        )

    with pytest.raises(UsageError, match="--fsync: of this machine only"):
        run(ray="auto")
    monkeypatch.delattr(os, "sync", raising=False)
    with pytest.raises(UsageError, match="--fsync: this system"):
        run()
    assert not (tmp_path / "m").exists()
