"""Tiles that cannot be run or are named oddly: each is a row with its reason, and the others are written."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from infer_runs import KEYS, OURS, Image, WriteTile, files_in, rows, summary_of

from dlcv.runtime.records.manifest import DONE, FAILED
from dlcv.runtime.run.inference import Summary


def bad_tiles(folder: Path, good: bytes) -> dict[str, str]:
    """Tiles that cannot be run, and what their sentence must say."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3))
    cv2.imwrite(str(folder / "deep.png"), noise.astype(np.uint16) * 100)
    plain = [cv2.IMWRITE_TIFF_COMPRESSION, 1]  # OpenCV 4 would store colours in floats as 16-bit LogLuv
    cv2.imwrite(str(folder / "float.tif"), noise.astype(np.float32), plain)
    (folder / "cut.png").write_bytes(good[: len(good) // 2])
    (folder / "zero.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("not an image, but named like one\n")
    (folder / "locked.png").write_bytes(good)
    (folder / "dangling.png").symlink_to(folder / "gone.png")
    os.mkfifo(folder / "pipe.png")
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 0xFF
    (folder / "flipped.png").write_bytes(flipped)
    return {
        "deep.png": "16-bit values, expected 8-bit; convert it, or give dlcv-infer --scale-16bit MIN,MAX",
        "float.tif": "float",
        "cut.png": "cut",
        "zero.jpg": "the file is empty; copy it again",
        "text.jpg": "not an image: expected JPEG, PNG, TIFF",
        "locked.png": "the file cannot be read: Permission denied",
        "dangling.png": "there is no such file",
        "pipe.png": "expected an image file",
        "flipped.png": "damaged",
    }


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening `locked.png` is refused, as it would be to a user who is not root."""
    from dlcv.runtime.tiles import decode

    real = decode._open_at_once

    def refuse(path: str, flags: int) -> int:
        if os.fspath(path).endswith("locked.png"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path, flags)

    monkeypatch.setattr(decode, "_open_at_once", refuse)


@pytest.mark.usefixtures("locked")
def test_tiles_that_cannot_be_run_are_rows_and_the_others_are_written(
    run: Callable[..., Summary], tile_folder: Path, masks: Path
) -> None:
    expected = bad_tiles(tile_folder, (tile_folder / "a.png").read_bytes())
    summary = run(tile_folder)
    assert (summary.tiles, summary.done, summary.failed) == (6 + len(expected), 6, len(expected))
    found = rows(masks)
    assert {key for key, row in found.items() if row.status == DONE} == set(KEYS)
    for key, sentence in expected.items():
        row = found[key]
        assert (row.status, row.output) == (FAILED, "")
        assert sentence in row.reason, f"{key}: {row.reason}"
        assert key not in row.reason, "the path stands beside the reason already"
    assert files_in(masks) - OURS == {f"{key}.png" for key in KEYS}
    assert summary.first_failure.split(": ")[0] in expected
    facts = summary_of(masks)
    assert (facts["failed"], facts["complete"]) == (len(expected), True)
    assert sum(facts["pixels"].values()) == 6 * 64 * 64


def test_fit_pad_refuses_larger_tiles_only(
    run: Callable[..., Summary], tile_folder: Path, masks: Path, write_tile: WriteTile
) -> None:
    write_tile(tile_folder / "large.png", np.zeros((65, 64, 3), np.uint8))
    assert run(tile_folder, fit="pad").failed == 1
    assert "tile is 65 x 64, the engine takes 64 x 64; pass --fit windows" in rows(masks)["large.png"].reason


def test_an_output_name_that_the_system_refuses_is_that_tiles_failure(
    run: Callable[..., Summary], tile_folder: Path, masks: Path
) -> None:
    long_name = "x" * 250 + ".png"  # exists, but with another .png behind it is above 255 bytes
    (tile_folder / long_name).write_bytes((tile_folder / "a.png").read_bytes())
    summary = run(tile_folder)
    assert (summary.done, summary.failed) == (6, 1)
    assert "cannot write" in rows(masks)[long_name].reason
    assert run(tile_folder, name_template="{folder}/{name}", overwrite=True).failed == 0


def test_long_names_that_begin_alike_do_not_meet(
    run: Callable[..., Summary], tmp_path: Path, masks: Path, tiny_scenes: list[Image], write_tile: WriteTile
) -> None:
    names = ["x" * 240 + f"{k}.png" for k in range(6)]
    for name, image in zip(names, tiny_scenes, strict=True):
        write_tile(tmp_path / "t" / name, image)
    run(tmp_path / "t", writers=4)
    run(tmp_path / "t", writers=1, decoders=1, output=tmp_path / "serial")
    for name in names:
        assert (masks / f"{name}.png").read_bytes() == (tmp_path / "serial" / f"{name}.png").read_bytes()


def test_hostile_names_go_through_and_stand_in_the_manifest(
    run: Callable[..., Summary], tile_folder: Path, masks: Path
) -> None:
    data = (tile_folder / "a.png").read_bytes()
    names = [b"new\nline.png", b"comma,quote\"'.png", b"back\\slash.png", b"\xff\xfe.png", b"-dash.png", b"%41 {x}.png"]
    keys = [os.fsdecode(name) for name in names]
    for key in keys:
        (tile_folder / key).write_bytes(data)
    assert run(tile_folder).failed == 0
    found = rows(masks)
    for key in keys:
        assert found[key].output == f"{key}.png"
        assert (masks / found[key].output).read_bytes() == (masks / "a.png.png").read_bytes()
    assert run(tile_folder, resume=True).resumed == 12
