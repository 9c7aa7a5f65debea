"""kill -9 at moments of a process's whole life, and going on: nothing lost, nothing differs, nothing partial.

CI kills each command at a few moments spread evenly over its life; `--long` at 100 that are drawn. They are forked from a process that has
imported what they need, since a life is mostly that and writes nothing in it; `DLCV_WHOLE_LIVES=1` kills whole lives of inference and training.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="signals of a Unix")]
TIERS = [pytest.param(False, id="few"), pytest.param(True, id="long", marks=pytest.mark.long)]
EXTRAS = ("--overlay", "--areas", "--polygons", "--min-area", "20")
SAME: dict[str, Any] = {"overlay": True, "areas": True, "polygons": True, "min_area": 20}
"""`EXTRAS` for `go_on`."""


@pytest.mark.parametrize("long", TIERS)
def test_inference_killed_anywhere_goes_on_to_the_same_bytes(
    harness: Any, begin: Callable[..., Any], go_on: Callable[..., None], many_tiles: Path, tiny_onnx: Path, tmp_path: Path,
    long: bool,
) -> None:  # fmt: skip
    def infer(folder: Path, *options: str, write_s: float = 0.002) -> Any:
        arguments = (many_tiles, "--engine", tiny_onnx, "--output", folder, "--device", "cpu", *EXTRAS, *options)
        return begin("dlcv-infer", *arguments, before=harness.slow_disk(write_s))

    undisturbed, folder = tmp_path / "undisturbed", tmp_path / "killed"
    began, tiles = time.monotonic(), len(list(many_tiles.rglob("*.png")))
    life_s = harness.life_of(infer(undisturbed))
    expected, differing = harness.tree(undisturbed), 0
    harness.check_counts(undisturbed, tiles)
    count, seed = harness.settings(long, few=1)  # and two more below
    begun = 0  # kills that found a manifest

    def fresh(*options: str, **how: float) -> Any:
        shutil.rmtree(folder, ignore_errors=True)
        return infer(folder, *options, **how)

    def check(where: str) -> int:
        if folder.exists():
            harness.check_whole(folder, expected)
        go_on(many_tiles, tiny_onnx, folder, **SAME)
        differing: int = harness.differing_bytes(harness.tree(folder), expected)
        assert differing == 0, where
        harness.check_counts(folder, tiles)
        return differing

    for moment in harness.killed(fresh, life_s, count, seed):
        begun += (folder / "manifest.csv").exists()
        differing += check(f"killed at {moment:.3f} of its life")
    for rows in (
        1,
        tiles // 2,
    ):  # how long a life is depends on who else uses the machine; these fall into the work for certain
        slowly = fresh("--decoders", "1", "--writers", "1", write_s=0.008)
        harness.kill_at_rows(slowly, folder / "manifest.csv", rows)
        begun, count = begun + 1, count + 1
        differing += check(f"killed at row {rows}")
    harness.note(
        "infer",
        {"kills": count, "in_the_work": begun, "life_s": life_s, "s": time.monotonic() - began, "bytes": differing},
    )


@pytest.mark.long
def test_inference_killed_again_and_again_ends_all_the_same(
    harness: Any, start: Callable[..., Any], many_tiles: Path, tiny_onnx: Path, tmp_path: Path
) -> None:
    """The process that goes on is killed, too, until one gets through."""

    def infer(folder: Path, *options: str) -> Any:
        arguments = (many_tiles, "--engine", tiny_onnx, "--output", folder, "--device", "cpu", *EXTRAS, *options)
        return start("dlcv-infer", *arguments, before=harness.slow_disk(0.002))

    undisturbed, folder = tmp_path / "undisturbed", tmp_path / "killed"
    life_s = harness.life_of(infer(undisturbed))
    kills = 0
    for moment in harness.moments(0, seed=11):
        if not harness.kill_after(infer(folder, "--resume"), (0.3 + 0.7 * moment) * life_s):
            break
        kills += 1
    assert kills
    harness.life_of(infer(folder, "--resume"))
    assert harness.tree(folder) == harness.tree(undisturbed)
    harness.note("infer again and again", {"kills": kills})


@pytest.fixture
def begin(start: Callable[..., Any], fork: Callable[..., Any]) -> Callable[..., Any]:
    """How inference or a training is started."""
    return start if os.environ.get("DLCV_WHOLE_LIVES") else fork


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder per class: 2 classes of 12 pictures, 16 x 16."""
    import cv2
    import numpy as np

    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(3)
    for label, name in enumerate(("dark", "light")):
        (folder / name).mkdir()
        for k in range(12):
            cv2.imwrite(
                str(folder / name / f"{k}.png"), rng.integers(90 * label, 90 * label + 160, (16, 16, 3), np.uint8)
            )
    return folder


@pytest.mark.parametrize("long", TIERS)
def test_training_killed_anywhere_goes_on_to_the_same_losses(
    harness: Any, begin: Callable[..., Any], pictures: Path, tmp_path: Path, long: bool
) -> None:
    pytest.importorskip("torch", reason="the train extra is not installed")
    import torch

    from dlcv.train.checkpoints.checkpoint import load_checkpoint

    options = (
        "--width", "0.1", "--crop", "16", "--batch", "4", "--workers", "0", "--device", "cpu", "--keep-best", "2",
        "--ema", "0.9",
    )  # fmt: skip

    def train(folder: Path, epochs: int = 8) -> Any:
        """As a supervisor would: goes on where there is a position, else starts again."""
        how = "--resume" if (folder / "last.pt").exists() else "--overwrite"
        given = ("--model", "cnn3", "--data", pictures, "--output", folder, "--epochs", epochs, *options, how)
        return begin("dlcv-train", *given, before=harness.slow_disk(0.02))

    undisturbed, folder = tmp_path / "undisturbed", tmp_path / "killed"
    began = time.monotonic()
    first = train(undisturbed)
    harness.wait_until(first, undisturbed.exists)
    work_s = harness.life_of(first)
    names = ("last.pt", "best.pt", *(f"kept/{path.name}" for path in (undisturbed / "kept").iterdir()))
    expected = {name: load_checkpoint(undisturbed / name) for name in names}
    count, seed = harness.settings(long, few=2)
    begun = 0

    def fresh() -> Any:
        shutil.rmtree(folder, ignore_errors=True)
        process = train(folder)
        harness.wait_until(process, folder.exists)  # before it has a folder nothing can be left
        return process

    for moment in harness.killed(fresh, work_s, count, seed):
        where = f"killed at {moment:.3f} of its work"
        for path in folder.rglob("*.pt"):
            load_checkpoint(path)  # checks every byte
        begun += (folder / "last.pt").exists()
        harness.life_of(train(folder))
        assert harness.losses(folder) == harness.losses(undisturbed), where
        for name, checkpoint in expected.items():
            found = load_checkpoint(folder / name)
            assert found.scores == checkpoint.scores, where
            assert all(torch.equal(found.weights[key], checkpoint.weights[key]) for key in checkpoint.weights), where
        assert not list(folder.rglob("*.partial")), where
    harness.note("train", {"kills": count, "with_a_position": begun, "work_s": work_s, "s": time.monotonic() - began})


@pytest.mark.parametrize("long", TIERS)
def test_export_killed_anywhere_leaves_no_partial_file_and_goes_on(
    harness: Any, export: Callable[..., Any], tmp_path: Path, long: bool
) -> None:
    """Moments of what it does once it has a folder: of the seconds before, in which torch computes, nothing can be left."""

    def slow(folder: Path) -> Any:
        return export(folder, before=harness.slow_disk(0.2))

    def files(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.glob("[!.]*")}

    undisturbed, folder = tmp_path / "undisturbed", tmp_path / "killed"
    began = time.monotonic()
    first = slow(undisturbed)
    harness.wait_until(first, lambda: bool(hidden(undisturbed)))
    work_s = harness.life_of(first)
    expected = files(undisturbed)
    assert len(expected) == 3
    count, seed = harness.settings(long, few=2)
    before = set[Path]()
    begun = 0

    def fresh() -> Any:
        before.clear()
        before.update(hidden(folder))
        process = slow(folder)
        harness.wait_until(process, lambda: bool(hidden(folder) - before))
        return process

    for number, moment in enumerate(harness.killed(fresh, work_s, count, seed)):
        where, found = f"killed at {moment:.3f} of its work", files(folder)
        assert all(expected[name] == data for name, data in found.items()), where
        assert not ("fcn8s.json" in found and len(found) < len(expected)), "the sidecar comes last"
        begun += bool(hidden(folder))
        if number % 5 == 1:
            harness.life_of(slow(folder))
            assert files(folder) == expected, where
            assert not hidden(folder), "what the killed one left is gone"
            shutil.rmtree(folder)
    harness.note("export", {"kills": count, "in_the_work": begun, "work_s": work_s, "s": time.monotonic() - began})


def hidden(folder: Path) -> set[Path]:
    """What stands in a folder by a name that begins with a dot."""
    return set(folder.glob(".*"))
