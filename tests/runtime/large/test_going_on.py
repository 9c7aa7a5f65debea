"""A run that died inside a large image goes on inside of it, with the bytes of a run that nobody disturbed."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dlcv.runtime.errors import OutputError, TileError
from dlcv.runtime.files import hidden_name
from dlcv.runtime.large import kept, mosaic, run
from dlcv.runtime.large.kept import KEPT_SUFFIX, KeptOf, KeptRows
from dlcv.runtime.large.run import ImageRun, Part
from dlcv.runtime.raster.sureness import Levels
from dlcv.runtime.records.manifest import read_manifest
from dlcv.runtime.run.inference import InferSettings, Summary, infer

WriteGeo = Callable[..., Path]
Image = NDArray[np.uint8]
Run = Callable[..., Summary]
EVERYTHING = ("overlay", "confidence", "polygons", "areas", "gallery")
STRIP = 32
"""Rows: the image's 576 are 18 strips, and 12 rows of windows."""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Low strips, kept of every image."""
    monkeypatch.setattr(mosaic, "STRIP_ROWS", STRIP)
    monkeypatch.setattr(run, "STRIP_ROWS", STRIP)
    monkeypatch.setattr(run, "KEPT_FROM", 1)


@pytest.fixture
def image(tiny_scenes: list[Image], write_geo: WriteGeo, tmp_path: Path) -> Path:
    """576 x 128 pixels, of which some are without data."""
    scene = np.maximum(np.vstack(3 * [np.hstack(tiny_scenes[k : k + 2]) for k in range(0, 6, 2)]), 1)
    scene[70:100, 20:60] = 0
    return write_geo(tmp_path / "in" / "a.tif", scene, nodata=0)


@pytest.fixture
def start(tiny_graph: Callable[[str], Path], image: Path) -> Run:
    def start(out: Path, head: str = "probs", **settings: Any) -> Summary:
        given = {
            "engine": tiny_graph(head),
            "output": out,
            "device": "cpu",
            "quiet": True,
            "batch": 1,
            "decoders": 1,
            **settings,
        }
        return infer(InferSettings.of(sources=(str(image),), **given))

    return start


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Row and column of each window that was read."""
    windows: list[tuple[int, int]] = []
    real = ImageRun.read

    def noted(self: ImageRun, part: Part) -> Any:
        windows.append((part.row, part.column))
        return real(self, part)

    monkeypatch.setattr(ImageRun, "read", noted)
    return windows


def stopped(monkeypatch: pytest.MonkeyPatch, windows: int, strips: int = 0) -> Callable[[], None]:
    """After so many windows, and so many kept strips, the run ends, as by a full disk; gives what undoes it."""
    real, keep, count, records = ImageRun.finish, KeptRows.keep, [], []

    def finish(self: ImageRun, part: Part, answer: Any) -> bool:
        count.append(part)
        if len(count) > windows and len(records) >= strips:
            raise OutputError("no space left")
        return real(self, part, answer)

    def noted(self: KeptRows, top: int, index: Image, levels: Levels | None) -> None:
        keep(self, top, index, levels)
        records.append(top)

    def undo() -> None:
        monkeypatch.setattr(ImageRun, "finish", real)
        monkeypatch.setattr(KeptRows, "keep", keep)

    monkeypatch.setattr(ImageRun, "finish", finish)
    monkeypatch.setattr(KeptRows, "keep", noted)
    return undo


def files(out: Path) -> dict[str, bytes]:
    """What is of the images, by path."""
    of_the_run = ("run.json", "summary.json", "manifest.csv", ".dlcv-lock")
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name not in of_the_run
    }


def found_in(out: Path) -> frozenset[int]:
    """The strips that are kept, read by the format's own rules: a record's head, and as many bytes as it tells."""
    data, tops = kept_of(out).read_bytes(), set()
    place = data.index(b"\n") + 1
    while place < len(data):
        top, classes, sure = struct.unpack_from("<IQQ", data, place)
        place += struct.calcsize("<IQQIqqqI") + classes + sure
        tops.add(top)
    assert place == len(data), "no record is torn"
    return frozenset(tops)


def kept_of(out: Path) -> Path:
    return hidden_name(out / "a.tif.tif", KEPT_SUFFIX)


@pytest.mark.parametrize(
    ("head", "settings"),
    [
        ("probs", dict.fromkeys(EVERYTHING, True)),
        ("probs", {"blend": False, "confidence": True}),
        ("probs", {"tta": "flips"}),
        ("mask", {"overlay": True}),
    ],
    ids=["everything", "cut", "tta", "masks"],
)
def test_it_goes_on_inside_the_image(
    head: str, settings: dict[str, Any], start: Run, tmp_path: Path, read: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped twice; what was decided is not asked about again."""
    assert start(tmp_path / "whole", head, **settings).failed == 0
    every, out = len(read), tmp_path / "out"
    read.clear()
    for windows, resume in ((every // 2, False), (every // 3, True)):
        go_on = stopped(monkeypatch, windows, strips=1)
        with pytest.raises(OutputError, match="no space"):
            start(out, head, resume=resume, **settings)
        go_on()
        assert not (out / "a.tif.tif").exists()
        assert kept_of(out).exists()
        assert not [path for path in out.rglob("*") if "partial" in path.name]
    decided = found_in(out)
    read.clear()
    assert start(out, head, resume=True, **settings).failed == 0
    assert decided, "something was kept"
    left = {top for top in range(0, 576, STRIP) if top not in decided}
    rows = [
        row
        for row in range(12)
        if any(top < min(48 * row, 512) + 64 and top + STRIP > min(48 * row, 512) for top in left)
    ]
    assert {row for row, _ in read} == set(rows), "those that reach into what was not decided"
    assert len(read) == every // 12 * len(rows)
    assert files(out) == files(tmp_path / "whole"), "and nothing is left of what was kept"


def test_what_was_stopped_while_its_extras_were_written_asks_for_a_strip(
    start: Run, tmp_path: Path, read: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    start(tmp_path / "whole", overlay=True)
    out, every = tmp_path / "out", len(read)
    with monkeypatch.context() as context:
        context.setattr("dlcv.runtime.raster.scene.Scene.write_overlay", _fails)
        with pytest.raises(OutputError, match="no space"):
            start(out, overlay=True)
    read.clear()
    assert start(out, overlay=True, resume=True).failed == 0
    assert {row for row, _ in read} <= {max(row for row, _ in read), max(row for row, _ in read) - 1}
    assert 0 < len(read) < every / 3
    assert files(out) == files(tmp_path / "whole")


def _fails(*_: Any, **__: Any) -> None:
    raise OutputError("no space left")


def half_done(start: Run, out: Path, windows: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    go_on = stopped(monkeypatch, windows, strips=6)  # answers come in any order: after half of them one may be decided
    with pytest.raises(OutputError):
        start(out, confidence=True)
    go_on()
    return kept_of(out)


@pytest.mark.parametrize("cut", [0, 5, 150, 0.3, 0.6, -1])
def test_a_record_that_is_torn_is_made_again(
    cut: float, start: Run, tmp_path: Path, read: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    start(tmp_path / "whole", confidence=True)
    every = len(read)
    file = half_done(start, tmp_path / "out", every // 2, monkeypatch)
    data = file.read_bytes()
    file.write_bytes(data[: cut if isinstance(cut, int) else int(len(data) * cut)])
    read.clear()
    assert start(tmp_path / "out", confidence=True, resume=True).failed == 0
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    if cut in (0, 5, 150):
        assert len(read) == every, "not a record was whole"
    if cut == -1:
        assert len(read) < every, "one was not"


def test_pixels_that_are_damaged_fail_the_image_once(
    start: Run, tmp_path: Path, read: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    start(tmp_path / "whole", confidence=True)
    every, out = len(read), tmp_path / "out"
    file = half_done(start, out, every // 2, monkeypatch)
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    assert start(out, confidence=True, resume=True).failed == 1
    reasons = [row.reason for row in read_manifest(out / "manifest.csv")]
    assert reasons == ["what an earlier run kept of it is damaged; it was removed, run the image again"]
    assert not file.exists()
    read.clear()
    assert start(out, confidence=True, resume=True).failed == 0
    assert len(read) == every
    assert files(out) == files(tmp_path / "whole")


@pytest.mark.parametrize("how", ["another image", "overwrite", "other settings"])
def test_what_is_not_of_this_run_is_thrown_away(
    how: str, start: Run, image: Path, tmp_path: Path, read: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    start(tmp_path / "whole", confidence=True)
    every, out = len(read), tmp_path / "out"
    half_done(start, out, every // 2, monkeypatch)
    if how == "another image":
        os.utime(image, ns=(0, 12345))
    if how == "other settings":  # of a run of which nothing but what it kept is left
        facts = json.loads((out / "run.json").read_text())
        (out / "run.json").write_text(json.dumps(facts | {"more": 1}))
    read.clear()
    again = {"overwrite": True} if how == "overwrite" else {"resume": True}
    assert start(out, confidence=True, **again).failed == 0
    assert len(read) == every
    assert files(out) == files(tmp_path / "whole")


def test_an_image_that_fails_keeps_nothing_and_small_ones_neither(
    start: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ImageRun.read

    def fails(self: ImageRun, part: Part) -> Any:
        if part.row == 3:
            raise TileError("row 3 is gone")
        return real(self, part)

    with monkeypatch.context() as context:
        context.setattr(ImageRun, "read", fails)
        assert start(tmp_path / "out").failed == 1
    assert list(files(tmp_path / "out")) == ["failed.csv"] or not files(tmp_path / "out")
    monkeypatch.setattr(run, "KEPT_FROM", 10_000)
    monkeypatch.setattr(run, "KeptRows", None)
    assert start(tmp_path / "out", overwrite=True).failed == 0


def test_a_disk_that_takes_no_more_of_it_ends_nothing(
    start: Run, tmp_path: Path, read: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither when it cannot be begun, nor in a run that goes on with what was found."""
    start(tmp_path / "whole", confidence=True)
    every, out = len(read), tmp_path / "out"
    with monkeypatch.context() as context:
        context.setattr(kept, "open", _full, raising=False)
        assert start(tmp_path / "none", confidence=True).failed == 0
    assert files(tmp_path / "none") == files(tmp_path / "whole")
    half_done(start, out, every // 2, monkeypatch)
    size = kept_of(out).stat().st_size
    real = kept.deflated
    monkeypatch.setattr(kept, "deflated", lambda data: _NoRoom(real(data)))
    read.clear()
    assert start(out, confidence=True, resume=True).failed == 0
    assert size > 0
    assert len(read) < every
    assert files(out) == files(tmp_path / "whole")


def _full(*_: Any, **__: Any) -> Any:
    raise OSError(28, "No space left on device")


class _NoRoom(bytes):
    """Bytes that a full disk is asked to take."""

    def __radd__(self, other: bytes) -> bytes:
        raise OSError(28, "No space left on device")


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    of = KeptOf(1, 2, 40, 30, 16, True, "sha")
    generator = np.random.default_rng(0)
    strips = {
        top: (
            generator.integers(0, 4, (height, 30), dtype=np.uint8),
            Levels(generator.integers(0, 256, (height, 30), dtype=np.uint8), top + 1, 5 + top, 6),
        )
        for top, height in ((32, 8), (0, 16), (16, 16))
    }
    first = KeptRows(tmp_path / "a.tif", of, resume=False)
    for top in (32, 0):
        first.keep(top, *strips[top])
    first.close(keep=True)
    with pytest.raises(TileError, match="has ended"):
        first.keep(16, *strips[16])
    second = KeptRows(tmp_path / "a.tif", of, resume=True)
    assert second.found == {0, 32}
    second.keep(16, *strips[16])
    assert [top for top, *_ in second.strips()] == [0, 32]
    second.close(keep=True)
    third = KeptRows(tmp_path / "a.tif", of, resume=True)
    for top, index, levels in third.strips():
        wanted_index, wanted = strips[top]
        assert levels is not None
        np.testing.assert_array_equal(index, wanted_index)
        np.testing.assert_array_equal(levels.levels, wanted.levels)
        assert (levels.pixels, levels.total, levels.below) == (wanted.pixels, wanted.total, wanted.below)
    assert third.found == {0, 16, 32}
    third.close(keep=False)
    assert not list(tmp_path.iterdir())


SLOW = f"""
import time
from dlcv.runtime.large import mosaic, run
mosaic.STRIP_ROWS = run.STRIP_ROWS = {STRIP}
run.KEPT_FROM = 1
real = run.ImageRun.read
run.ImageRun.read = lambda self, part: (time.sleep(0.1), real(self, part))[1]
"""


@pytest.mark.skipif(os.name == "nt", reason="kill -9 of a Unix")
def test_killed(
    start: Run, image: Path, tiny_graph: Callable[[str], Path], tmp_path: Path, read: list[Any],
    command_line: Callable[..., list[str]], command_env: dict[str, str],
) -> None:  # fmt: skip
    """`kill -9`, twice; the second run had gone on with the first's."""
    start(tmp_path / "whole", confidence=True, polygons=True)
    every, out = len(read), tmp_path / "out"
    arguments = (image, "--engine", tiny_graph("probs"), "--output", out, "--device", "cpu", "--confidence", "--polygons",
                 "--batch", "1", "--decoders", "1")  # fmt: skip
    sizes = [0]
    for options in ((), ("--resume",)):
        argv = command_line("dlcv-infer", *arguments, *options, before=SLOW)
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env=command_env) as process:
            end = time.monotonic() + 60
            while not (kept_of(out).exists() and kept_of(out).stat().st_size > sizes[-1] + 600):
                assert process.poll() is None, process.stderr.read() if process.stderr else ""
                assert time.monotonic() < end, "nothing was kept"
                time.sleep(0.01)
            process.kill()
        assert not (out / "a.tif.tif").exists()
        sizes.append(kept_of(out).stat().st_size)
    read.clear()
    assert start(out, confidence=True, polygons=True, resume=True).failed == 0
    assert 0 < len(read) < every
    assert files(out) == files(tmp_path / "whole")
