"""A disk that fills up while a run writes: a real file system, too small by a drawn amount, that is made larger afterwards."""

from __future__ import annotations

import errno
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
TIERS = [pytest.param(False, id="few"), pytest.param(True, id="long", marks=pytest.mark.long)]
EXTRAS = ("--overlay", "--areas", "--polygons", "--min-area", "20")
SAME: dict[str, Any] = {"overlay": True, "areas": True, "polygons": True, "min_area": 20}
"""`EXTRAS` for `go_on`."""
ENOUGH_KB = 64 << 10


def sizes(harness: Any, long: bool, few: int, full_kb: int) -> list[int]:
    """Kilobytes, each less than the `full_kb` that the work takes; at least 4, a page."""
    count, seed = harness.settings(long, few)
    count = max(few, count // 4) if long else count
    drawn = random.Random(seed)
    shares = [drawn.uniform(0.02, 0.98) if long else (k + 0.5) / count for k in range(count)]
    return [max(4, int(share * full_kb) // 4 * 4) for share in shares]


def used_kb(folder: Path) -> int:
    """What a file system of pages of 4 KB needs for a folder."""
    return 4 * sum(-(-path.stat().st_size // 4096) for path in folder.rglob("*") if path.is_file())


def check_told(process: Any) -> None:
    """It ended with a line that says so, and exit code 2."""
    _, err = process.communicate(timeout=300)
    assert process.returncode == 2, err
    assert "Traceback" not in err
    assert os.strerror(errno.ENOSPC) in err.splitlines()[-1], err


@pytest.mark.parametrize("long", TIERS)
def test_inference_tells_it_and_goes_on(
    harness: Any, fork: Callable[..., Any], go_on: Callable[..., None], small_disk: Callable[[int], Path],
    many_tiles: Path, tiny_onnx: Path, tmp_path: Path, long: bool,
) -> None:  # fmt: skip
    def infer(folder: Path) -> Any:
        arguments = (many_tiles, "--engine", tiny_onnx, "--output", folder, "--device", "cpu", *EXTRAS)
        return fork("dlcv-infer", *arguments)

    small_disk(ENOUGH_KB)
    undisturbed = tmp_path / "undisturbed"
    began = time.monotonic()
    go_on(many_tiles, tiny_onnx, undisturbed, **SAME)
    expected, tiles = harness.tree(undisturbed), len(list(many_tiles.rglob("*.png")))
    tried = sizes(harness, long, 2, used_kb(undisturbed))
    for number, kilobytes in enumerate(tried):
        folder = small_disk(ENOUGH_KB) / str(number)
        folder.mkdir()
        small_disk(used_kb(folder.parent) + kilobytes)
        check_told(infer(folder))
        harness.check_whole(folder, expected)
        assert not [path for path in folder.rglob("*.partial") if path.is_file()]
        small_disk(ENOUGH_KB)
        go_on(many_tiles, tiny_onnx, folder, **SAME)
        assert harness.tree(folder) == expected, f"{kilobytes} KB"
        harness.check_counts(folder, tiles)
        empty(folder)
    harness.note("infer, full disk", {"times": len(tried), "s": time.monotonic() - began})


@pytest.mark.parametrize("long", TIERS)
def test_training_tells_it_and_goes_on(
    harness: Any, fork: Callable[..., Any], small_disk: Callable[[int], Path], tiny_data: Path, tmp_path: Path,
    long: bool,
) -> None:  # fmt: skip
    def train(folder: Path) -> Any:
        how = "--resume" if (folder / "last.pt").exists() else "--overwrite"
        given = (
            "--model", "fcn8s", "--data", tiny_data, "--width", "0.05", "--crop", "32", "--batch", "4", "--epochs", "2",
            "--workers", "0", "--device", "cpu", "--output", folder, how,
        )  # fmt: skip
        return fork("dlcv-train", *given)

    from dlcv.train.checkpoints.checkpoint import load_checkpoint

    small_disk(ENOUGH_KB)
    undisturbed = tmp_path / "undisturbed"
    harness.life_of(train(undisturbed))
    tried = sizes(harness, long, 2, used_kb(undisturbed))
    for number, kilobytes in enumerate(tried):
        folder = small_disk(ENOUGH_KB) / str(number)
        folder.mkdir()
        small_disk(used_kb(folder.parent) + kilobytes)
        check_told(train(folder))
        for path in folder.rglob("*.pt"):
            load_checkpoint(path)
        small_disk(ENOUGH_KB)
        harness.life_of(train(folder))
        assert harness.losses(folder) == harness.losses(undisturbed), f"{kilobytes} KB"
        assert not list(folder.rglob("*.partial"))
        empty(folder)
    harness.note("train, full disk", {"times": len(tried)})


@pytest.mark.parametrize("long", TIERS)
def test_export_tells_it_and_leaves_nothing(
    harness: Any, export: Callable[..., Any], small_disk: Callable[[int], Path], tmp_path: Path, long: bool
) -> None:
    small_disk(ENOUGH_KB)
    undisturbed = tmp_path / "undisturbed"
    harness.life_of(export(undisturbed))
    tried = sizes(harness, long, 1, used_kb(undisturbed))
    for kilobytes in tried:
        folder = small_disk(ENOUGH_KB) / "out"
        folder.mkdir()
        small_disk(used_kb(folder.parent) + kilobytes)
        check_told(export(folder))
        assert list(folder.iterdir()) == [], f"{kilobytes} KB"
        small_disk(ENOUGH_KB)
        empty(folder)
    harness.life_of(export(folder))
    assert len(list(folder.iterdir())) == 3
    harness.note("export, full disk", {"times": len(tried)})


def empty(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder)
