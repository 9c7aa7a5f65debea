"""`dlcv-infer` as it is typed: exit codes, what it says, its help."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from infer_command import TOOK, invoke

from dlcv.runtime.cli.infer import main
from dlcv.runtime.cli.infer_options import HEADINGS
from dlcv.runtime.records.manifest import read_manifest


def test_a_folder_of_tiles(tile_folder: Path, tiny_onnx: Path, tmp_path: Path) -> None:
    code, out, err = invoke(tile_folder, "--engine", tiny_onnx, "--output", tmp_path / "m", "--quiet")
    assert (code, out) == (0, "")
    assert re.fullmatch(re.escape(f"6 of 6 tiles done, 0 failed: {tmp_path / 'm'}") + TOOK + "\n", err)
    assert json.loads((tmp_path / "m/summary.json").read_text())["done"] == 6
    code, _, err = invoke(tile_folder, "--engine", tiny_onnx, "--output", tmp_path / "m", "--resume")
    assert (code, err) == (0, f"6 of 6 tiles done (6 of them before), 0 failed: {tmp_path / 'm'}\n")


def test_the_gallery_is_pointed_at_and_a_world_file_is_told(tile_folder: Path, tiny_onnx: Path, tmp_path: Path) -> None:
    (tile_folder / "a.pgw").write_text("0.5\n0\n0\n-0.5\n325000\n2790000\n")
    code, _, err = invoke(tile_folder, "--engine", tiny_onnx, "--output", tmp_path / "m", "--gallery")
    assert code == 0
    first, opened, *_, page = err.splitlines()
    assert first.startswith(f"1 world file, such as {tile_folder / 'a.pgw'}, will not be used: ")
    assert first.endswith("make it a GeoTIFF with: gdal_translate a.png a.tif")
    assert opened.startswith("6 tiles through ")
    assert page == f"look through them: {tmp_path / 'm/gallery/index.html'}"


def test_polygons_as_they_are_by_default_are_told_of(tile_folder: Path, tiny_onnx: Path, tmp_path: Path) -> None:
    told = "polygons follow the edge of every pixel; --simplify 1 --min-area 50 makes them fewer and smaller"
    for options, lines in ([], 1), (["--min-area", "0"], 0), (["--quiet"], 0):
        given = (tile_folder, "--engine", tiny_onnx, "--output", tmp_path / "m", "--overwrite", "--polygons")
        _, _, err = invoke(*given, *options)
        assert err.splitlines().count(told) == lines


def test_files_globs_and_masks_by_default_in_masks(
    tile_folder: Path, tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tile_folder / "-dash.png").write_bytes((tile_folder / "a.png").read_bytes())
    code, _, _ = invoke(
        "--engine", tiny_onnx, tile_folder / "a.png", "tiles/sub/*.png", "--", tile_folder / "-dash.png"
    )
    assert code == 0
    assert {path.name for path in Path("masks").glob("*.png")} == {
        "a.png.png",
        "c.png.png",
        "d.png.png",
        "-dash.png.png",
    }


def test_failed_tiles_are_exit_1(tile_folder: Path, tiny_onnx: Path, tmp_path: Path) -> None:
    (tile_folder / "zero.jpg").write_bytes(b"")
    code, _, err = invoke(tile_folder, "--engine", tiny_onnx, "--output", tmp_path / "m")
    assert code == 1
    opened, last, failure = err.splitlines()
    assert re.fullmatch(rf"7 tiles through {re.escape(tiny_onnx.name)} in .+, in fp32; batch 1, \d+ at a time", opened)
    assert re.fullmatch(re.escape(f"6 of 7 tiles done, 1 failed: {tmp_path / 'm'}") + TOOK, last)
    assert (
        failure
        == f"first failure: zero.jpg: the file is empty; copy it again; all are in {tmp_path / 'm/manifest.csv'}"
    )
    assert len(list(read_manifest(tmp_path / "m/manifest.csv"))) == 7


def test_16_bits(tile_folder: Path, tiny_onnx: Path, tmp_path: Path) -> None:
    import cv2
    import numpy as np

    for path in tile_folder.rglob("*.png"):
        path.unlink()
    cv2.imwrite(str(tile_folder / "deep.png"), np.full((64, 64, 3), 4000, np.uint16))
    assert invoke(tile_folder, "--engine", tiny_onnx, "--output", tmp_path / "m")[0] == 1
    assert invoke(tile_folder, "--engine", tiny_onnx, "--output", tmp_path / "n", "--scale-16bit", "0,10000")[0] == 0


def test_output_folders_that_cannot_be_used(tile_folder: Path, tiny_onnx: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for output in (tmp_path / "file", tmp_path / "file/below"):
        code, _, err = invoke(tile_folder, "--engine", tiny_onnx, "--output", output)
        assert code == 2
        assert err.startswith(f"dlcv-infer: cannot make the folder {output}: ")
        assert err.count("\n") == 1


def test_a_classifier_writes_into_predictions_by_default(
    colour_folder: Path, colour_engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = invoke("colours", "--engine", colour_engine, "--quiet", "--top-k", 2)
    assert (code, out) == (0, "")
    assert re.fullmatch("5 of 5 tiles done, 0 failed: predictions" + TOOK + "\n", err)
    lines = Path("predictions/predictions.csv").read_text().splitlines()
    assert lines[0] == "path,class,probability,class_2,probability_2"
    assert sorted(line.split(",")[:2] for line in lines[1:]) == [
        ["green.png", "green"], ["red.png", "red"], ["sub/blue.png", "blue"], ["sub/grey.png", "grey"], ["wide.png", "red"],
    ]  # fmt: skip
    code, _, err = invoke("colours", "--engine", colour_engine, "--top-k", 2, "--resume")
    assert (code, err) == (0, "5 of 5 tiles done (5 of them before), 0 failed: predictions\n")
    assert Path("predictions/predictions.csv").read_text().splitlines() == lines
    assert not Path("masks").exists()


def test_json_lines(colour_folder: Path, colour_engine: Path, tmp_path: Path) -> None:
    code, _, _ = invoke(colour_folder, "--engine", colour_engine, "--format", "jsonl", "--output", tmp_path / "p")
    assert code == 0
    found = [json.loads(line) for line in (tmp_path / "p/predictions.jsonl").read_text().splitlines()]
    assert {line["path"]: line["class"] for line in found}["sub/blue.png"] == "blue"


def test_an_engine_that_is_not_there_where_the_output_is_left_open(tile_folder: Path, tmp_path: Path) -> None:
    code, _, err = invoke(tile_folder, "--engine", tmp_path / "none.onnx")
    assert (code, err.count("\n")) == (2, 1)
    assert "none.onnx does not exist; make it with: dlcv-export" in err


def test_help_says_what_is_for_which_task() -> None:
    code, out, _ = invoke("--help")
    assert code == 0
    words = " ".join(out.split())
    assert "[default: masks, or predictions for a classifier]" in words
    assert "[default: {path}.png]" in words
    assert "[default: 0.25]" in words


def test_help_puts_every_option_under_its_heading() -> None:
    _, out, _ = invoke("--help")
    headings = [line for line in out.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == [f"{heading}:" for heading in HEADINGS.values()]  # and no option stands above the first
    sections = dict(zip(HEADINGS.values(), re.split("|".join(map(re.escape, headings)), out)[1:]))
    assert "--require-signature" in sections["Engine"] and "--polygons" in sections["Beside the masks"]
    shown = set(re.findall(r"^  (--[a-z0-9-]+)", out, re.MULTILINE))
    assert shown == {param.opts[0] for param in main.params if isinstance(param, click.Option)} | {"--help"}


def test_explain_says_of_every_session_why_and_runs_nothing(tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    code, out, err = invoke("--engine", tiny_onnx, "--explain", "--device", "cpu")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) == 5 and [line.split(":")[0] for line in lines].count("chosen") == 1
    assert lines[1] == "passed over: onnxruntime-tensorrt on cuda: --device cpu was given"
    assert list(tmp_path.iterdir()) == [] or list(tmp_path.iterdir()) == [tiny_onnx]
    code, out, _ = invoke("--engine", tiny_onnx, "--explain", "--device", "cpu", "--compute", "tf32")
    assert code == 2 and "chosen" not in out


def test_less_precision_is_another_run(tile_folder: Path, tiny_onnx: Path, tmp_path: Path, refused: Callable[..., str]) -> None:  # fmt: skip
    openvino = pytest.importorskip("openvino")
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU computes no bf16")
    code, _, _ = invoke(tile_folder, "--engine", tiny_onnx, "--output", tmp_path / "masks", "--compute", "bf16")
    assert code == 0
    summary = json.loads((tmp_path / "masks/summary.json").read_text())
    assert summary["computes"] == "bf16" and summary["session"].endswith(", in bf16")
    assert "holds a run with other settings: compute (" in refused(tile_folder, "--engine", tiny_onnx, "--resume")


def test_extras_with_their_own_options(tile_folder: Path, tiny_onnx: Path, tmp_path: Path) -> None:
    options = (
        "--overlay",
        "--alpha",
        "0.7",
        "--overlay-format",
        "png",
        "--polygons",
        "--simplify",
        "1.5",
        "--min-area",
        "4",
    )
    code, out, _ = invoke(
        tile_folder, "--engine", tiny_onnx, "--output", tmp_path / "m", *options, "--areas", "--gallery", "--quiet"
    )
    assert (code, out) == (0, "")
    names = ("overlays/a.png.png", "polygons/sub/c.png.geojson", "areas.csv", "gallery/index.html")
    assert all((tmp_path / "m" / name).is_file() for name in names)
    run = json.loads((tmp_path / "m/run.json").read_text())
    assert [run[name] for name in ("alpha", "overlay_format", "simplify", "min_area", "areas", "gallery", "confidence")] == [
        0.7, "png", 1.5, 4, True, True, None,
    ]  # fmt: skip
