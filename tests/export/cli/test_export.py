"""`dlcv-export` from the command line: what it writes and prints, and every refusal with its exit code."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlcv.runtime.card.plan_header import read_plan_header
from dlcv.runtime.card.reader import read_card
from dlcv.runtime.files import sha256_of
from dlcv.runtime.sessions import open_session

Export = Callable[..., Any]
FILES = ["fcn8s.json", "fcn8s.onnx", "fcn8s.reference.npz"]


def test_the_files_are_written_and_listed_on_stdout(exported: Any) -> None:
    assert sorted(path.name for path in exported.folder.iterdir()) == FILES
    listed = [exported.folder / name for name in ("fcn8s.onnx", "fcn8s.reference.npz", "fcn8s.json")]
    assert exported.stdout.splitlines() == list(map(str, listed))
    lines = exported.stderr.splitlines()
    assert lines[0].startswith("exporting ")
    assert lines[0].endswith("to ONNX: fcn8s, width 0.05, 64 x 64, head mask")
    assert lines[1] == "verifying on 6 tiles"
    assert lines[2].startswith("verified on 6 tiles: argmax agreement ")
    assert [line.split()[:2] for line in lines[3:6]] == [["stage", "mean"], ["torch", "fp32"], ["onnx", "fp32"]]
    assert lines[6:] == ["no plan: not asked for"]


def test_the_sidecar_holds_card_hashes_and_what_was_verified(exported: Any, tiny_checkpoint: Path) -> None:
    facts = json.loads((exported.folder / "fcn8s.json").read_text())
    assert set(facts) == {"card", "verification", "stages", "files"}
    assert facts["files"] == {
        name: {"sha256": sha256_of(exported.folder / name), "bytes": (exported.folder / name).stat().st_size}
        for name in FILES[1:]
    }
    verified = facts["verification"]
    assert verified["tiles"] == 6
    assert verified["predicted_classes"] >= 4
    assert verified["not_finite"] == 0
    assert 0.9999 <= verified["agreement"] <= 1
    assert verified["mask_is_argmax"] == 1
    assert 0 < verified["logit_difference"] < 1e-3 * verified["logit_scale"]
    card = read_card(exported.folder / "fcn8s.onnx")
    assert card == read_card(exported.folder / "fcn8s.json") == read_card(exported.folder / "fcn8s.reference.npz")
    assert card.checkpoint_sha256 == sha256_of(tiny_checkpoint)
    assert card.head == "mask"
    assert set(card.versions) == {"dlcv", "torch", "onnx", "python"}


def test_another_process_exports_the_same_bytes_from_the_default_checkpoint(exported: Any, tiny_checkpoint: Path, run_command: Any, tmp_path: Path) -> None:  # fmt: skip
    shutil.copytree(tiny_checkpoint.parent, tmp_path / "runs" / "fcn8s")
    result = run_command("dlcv-export", "--model", "fcn8s", "--format", "onnx", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["fcn8s.onnx", "fcn8s.reference.npz", "fcn8s.json"]
    assert result.stderr.startswith("exporting runs/fcn8s/best.pt to ONNX")
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (exported.folder / name).read_bytes(), name
    assert sorted(path.name for path in tmp_path.iterdir()) == [*FILES, "runs"]


@pytest.mark.usefixtures("remembered_graphs")
@pytest.mark.parametrize("given", ["auto", "plan"])
def test_a_plan_is_built_where_a_builder_is_importable(given: str, export: Export, tiny_checkpoint: Path, tmp_path: Path) -> None:  # fmt: skip
    rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheels for this Python")
    options = ("--builder", "tensorrt-rtx") if given == "plan" else ()
    result = export(
        "--checkpoint", tiny_checkpoint, "--output", tmp_path, "--format", given, "--max-batch", 4, *options
    )
    assert result.exit_code == 0, result.stderr
    plan = tmp_path / "fcn8s.plan"
    assert plan.read_bytes()[:4] in (b"vtrt", b"ftrt")
    assert str(plan) in result.stdout.splitlines()
    header, card = read_plan_header(plan), read_card(plan)
    if header.kind == "tensorrt-rtx":
        assert header.version == rtx.__version__
        assert "8.6" in header.compute_capabilities
    assert card.onnx_sha256 == sha256_of(tmp_path / "fcn8s.onnx")
    assert card.max_batch == 4
    assert card.changed(onnx_sha256="", max_batch=0, versions={}, proof="") == read_card(tmp_path / "fcn8s.onnx").changed(versions={})  # fmt: skip
    facts = json.loads((tmp_path / "fcn8s.json").read_text())
    assert facts["files"]["fcn8s.plan"]["sha256"] == sha256_of(plan)
    assert facts["plan"]["built"] in result.stderr
    assert "compute capability" in facts["plan"]["built"]
    assert f"reading {tmp_path / 'fcn8s.onnx'}" in result.stderr.splitlines()
    assert ".partial" not in result.stderr + (tmp_path / "fcn8s.json").read_text()


@pytest.fixture
def no_builder(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)  # import then fails as if it were not installed


@pytest.mark.usefixtures("remembered_graphs", "no_builder")
def test_without_a_builder_auto_names_the_package_and_succeeds(export: Export, tiny_checkpoint: Path, tmp_path: Path) -> None:  # fmt: skip
    result = export("--checkpoint", tiny_checkpoint, "--output", tmp_path)
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    said = result.stderr.splitlines()[-1]
    assert said.startswith("no plan: a TensorRT builder is needed to make a plan; install it with: pip install ")
    assert "tensorrt-rtx" in said


@pytest.mark.usefixtures("no_builder")
@pytest.mark.parametrize("options", [("--format", "plan"), ("--builder", "tensorrt-rtx"), ("--builder", "tensorrt")])
def test_without_a_builder_a_plan_that_is_asked_for_fails(options: tuple[str, str], export: Export, tiny_checkpoint: Path, tmp_path: Path) -> None:  # fmt: skip
    result = export("--checkpoint", tiny_checkpoint, "--output", tmp_path, *options)
    _refused(result, r"is needed to (make|build) a plan.*install it with: pip install .*tensorrt", tmp_path)


@pytest.mark.usefixtures("remembered_graphs")
def test_the_head_and_the_tiles_can_be_chosen(export: Export, tiny_checkpoint: Path, tiny_data: Path, tiny_scenes: Any, tmp_path: Path) -> None:  # fmt: skip
    data = tmp_path / "data"
    data.mkdir()
    for path in tiny_data.glob("t[12]_*"):
        shutil.copyfile(path, data / path.name)
    alone = tmp_path / "alone" / "best.pt"
    alone.parent.mkdir()
    shutil.copyfile(tiny_checkpoint, alone)
    out = tmp_path / "engines" / "new"
    result = export("--checkpoint", alone, "--data", data, "--head", "probs", "--format", "onnx", "--output", out)
    assert result.exit_code == 0, result.stderr
    assert "verified on 2 tiles" in result.stderr
    assert "head probs" in result.stderr
    with open_session(out / "fcn8s.onnx", device="cpu") as session:
        probs = session.run(np.stack(tiny_scenes))["probs"]
    assert probs.shape == (6, 7, 64, 64)
    assert probs.dtype == np.float32
    with np.load(out / "fcn8s.reference.npz") as arrays:
        tiles = {name.removeprefix("mask_") for name in arrays.files if name.startswith("mask_")}
    assert tiles == {sha256_of(path) for path in data.glob("*_sat.jpg")}


def test_the_size_can_be_chosen(export: Export, tiny_checkpoint: Path, tmp_path: Path) -> None:
    result = export("--checkpoint", tiny_checkpoint, "--output", tmp_path, "--size", 32, 96, "--format", "onnx")
    assert result.exit_code == 0, result.stderr
    assert read_card(tmp_path / "fcn8s.onnx").input_size_hw == (32, 96)
    with open_session(tmp_path / "fcn8s.onnx", device="cpu") as session:
        assert session.run(np.zeros((2, 32, 96, 3), np.uint8))["mask"].shape == (2, 32, 96)


def test_a_size_that_the_model_cannot_take_names_the_next_one(export: Export, tiny_checkpoint: Path, tmp_path: Path) -> None:  # fmt: skip
    result = export("--checkpoint", tiny_checkpoint, "--output", tmp_path, "--size", 64, 100)
    _refused(result, r"--size 64 100 is not in multiples of 32, which fcn8s needs; use --size 64 128$", tmp_path)


def test_a_missing_checkpoint_says_how_to_train_one(export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    sentence = r"there is no checkpoint runs/{0}/best\.pt; train one with: dlcv-train --model {0} --data DIR"
    for model in ("fcn8s", "fcn32s"):
        _refused(export("--model", model), sentence.format(model), tmp_path)


def test_a_checkpoint_of_another_model_is_named(export: Export, tiny_checkpoint: Path, tmp_path: Path) -> None:
    result = export("--model", "fcn32s", "--checkpoint", tiny_checkpoint, "--output", tmp_path)
    _refused(result, r"best\.pt is a checkpoint of fcn8s, not of fcn32s; pass --model fcn8s", tmp_path)


def test_an_unknown_model_lists_the_known_without_loading_torch(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from dlcv.export.cli.export import main;"
        "main(['--model', 'fcn9s'], prog_name='dlcv-export')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 2
    from dlcv.train.models.registry import list_models

    assert (
        result.stderr
        == f"dlcv-export: unknown model 'fcn9s'; known models: {', '.join(list_models())}; one of your own is known with --model-file FILE.py\n"
    )


def test_no_probe_and_no_data_is_refused(export: Export, tiny_checkpoint: Path, tmp_path: Path) -> None:
    alone, out = tmp_path / "best.pt", tmp_path / "out"
    shutil.copyfile(tiny_checkpoint, alone)
    out.mkdir()
    result = export("--checkpoint", alone, "--output", out)
    _refused(result, rf"no probe tiles at {tmp_path}/probe to verify on; pass labelled tiles with --data DIR$", out)


@pytest.mark.parametrize("fault", ["pixel", "removed", "added", "renamed"])
def test_a_probe_that_was_tampered_with_is_refused(fault: str, export: Export, tiny_checkpoint: Path, tmp_path: Path) -> None:  # fmt: skip
    run, out = tmp_path / "run", tmp_path / "out"
    shutil.copytree(tiny_checkpoint.parent, run)
    out.mkdir()
    mask = run / "probe" / "t0_mask.png"
    if fault == "pixel":
        data = bytearray(mask.read_bytes())
        data[-20] ^= 1
        mask.write_bytes(data)
    elif fault == "removed":
        mask.unlink()
    elif fault == "added":
        shutil.copyfile(mask, run / "probe" / "t9_mask.png")
    else:
        mask.rename(run / "probe" / "t9_mask.png")
    result = export("--checkpoint", run / "best.pt", "--output", out)
    _refused(result, r"probe are not those of the checkpoint \(their hash differs\); pass labelled tiles with --data DIR", out)  # fmt: skip


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, r"there is no folder \S+data; --data expects a folder of tiles and masks$"),
        ({}, r"no pairs in \S+data; looked for NAME_sat\.jpg with NAME_mask\.png"),
        ({"a_sat.jpg": b"x"}, r"1 image has no mask"),
        ({"a_sat.jpg": b"x", "a_mask.png": b"x"}, r"a_sat\.jpg: .*; verification needs tiles that can be read$"),
    ],
    ids=["missing", "empty", "unpaired", "unreadable"],
)
def test_data_that_cannot_be_used_is_refused(content: dict[str, bytes] | None, sentence: str, export: Export, tiny_checkpoint: Path, tmp_path: Path) -> None:  # fmt: skip
    data, out = tmp_path / "data", tmp_path / "out"
    out.mkdir()
    if content is not None:
        data.mkdir()
        for name, text in content.items():
            (data / name).write_bytes(text)
    _refused(export("--checkpoint", tiny_checkpoint, "--data", data, "--output", out), sentence, out)


@pytest.mark.parametrize("options", [("--head", "masks"), ("--format", "engine"), ("--max-batch", 0), ("--size", 64)])
def test_options_out_of_range_are_usage_errors(options: tuple[Any, ...], export: Export) -> None:
    result = export(*options)
    assert result.exit_code == 2
    assert options[0] in result.stderr
    assert "Traceback" not in result.stderr


def _refused(result: Any, sentence: str, folder: Path) -> None:
    """Exit code 2, one line, and nothing written."""
    assert result.exit_code == 2, result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("dlcv-export: "), last
    assert re.search(sentence, last), last
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert os.listdir(folder) == []
