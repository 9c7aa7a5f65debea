"""Overlays, confidence, polygons, areas and the gallery of a run: all there, the same after a resume, gone with --overwrite."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from infer_runs import OURS, files_in
from numpy.typing import NDArray
from PIL import Image

from dlcv.runtime import load
from dlcv.runtime.errors import OutputError, UsageError
from dlcv.runtime.masks import read_mask
from dlcv.runtime.outputs.beside import beside
from dlcv.runtime.outputs.polygons.geojson import geojson, polygons_of
from dlcv.runtime.records.manifest import DONE, read_manifest
from dlcv.runtime.run.inference import InferSettings, Summary, infer

KEYS = ["a.png", "b.png", "sub/c.png", "sub/d.png", "sub/deep/e.png", "sub/deep/f.png"]
ALL: dict[str, Any] = {"overlay": True, "confidence": True, "polygons": True, "areas": True, "gallery": True}
KINDS = ("overlays.jpg", "confidence.png", "polygons.geojson", "gallery.jpg", "gallery.png")
TABLES = {"areas.csv", "confidence.csv", "gallery/tiles.csv", "gallery/index.html"}
Run = Callable[..., Summary]


@pytest.fixture
def run(tiny_graph: Callable[[str], Path], tmp_path: Path) -> Run:
    """`infer` into `tmp_path/out` with the engine that gives probabilities; the keywords are those of `InferSettings`."""

    def run(*sources: Path, **settings: Any) -> Summary:
        given = {"engine": tiny_graph("probs"), "output": tmp_path / "out", "device": "cpu", "quiet": True, **settings}
        return infer(InferSettings.of(sources=tuple(map(str, sources)), **given))

    return run


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def contents(folder: Path) -> dict[str, Any]:
    """Every file but what tells times; tables as sets of lines, because tiles end in any order."""
    found: dict[str, Any] = {}
    for name in files_in(folder) - {"summary.json", "run.json", ".dlcv-lock", "gallery/index.html"}:
        data = (folder / name).read_bytes()
        found[name] = sorted(data.splitlines()) if name.endswith(".csv") else data
    return found


def table(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_extra_of_every_tile(run: Run, tile_folder: Path, out: Path, tiny_graph: Callable[[str], Path]) -> None:
    summary = run(tile_folder, **ALL)
    assert (summary.done, summary.failed) == (6, 0)
    files = {beside(kind, key) for kind in KINDS for key in KEYS}
    assert files_in(out) == OURS | TABLES | {f"{key}.png" for key in KEYS} | files
    with load(tiny_graph("probs")) as model:
        classes = model.card.classes
    areas, means = table(out / "areas.csv"), table(out / "confidence.csv")
    assert {row["path"] for row in areas} == {row["path"] for row in means} == set(KEYS)
    for key in KEYS:
        mask = read_mask(out / f"{key}.png")
        pixels = {row["class"]: int(row["pixels"]) for row in areas if row["path"] == key}
        assert pixels == {classes[k]: int((mask == k).sum()) for k in np.unique(mask)}
        with Image.open(out / beside("confidence.png", key)) as image:
            levels = np.asarray(image)
        assert levels.shape == mask.shape
        mean = next(float(row["mean"]) for row in means if row["path"] == key)
        assert abs(levels.mean() / 255 - mean) < 1 / 255, "a level is a step of 1/255"
        features = json.loads((out / beside("polygons.geojson", key)).read_text())["features"]
        assert [f["properties"]["pixels"] for f in features] == [p.pixels for p in polygons_of(mask)]
        assert all(1 / len(classes) <= f["properties"]["confidence"] <= 1 for f in features)
    for row in read_manifest(out / "manifest.csv"):
        assert (row.status, row.output) == (DONE, f"{row.path}.png"), "the manifest names the mask"


def test_masks_with_and_without_extras_are_the_same(run: Run, tile_folder: Path, out: Path, tmp_path: Path) -> None:
    run(tile_folder, **ALL)
    run(tile_folder, output=tmp_path / "plain")
    for key in KEYS:
        assert (out / f"{key}.png").read_bytes() == (tmp_path / "plain" / f"{key}.png").read_bytes()
    assert files_in(tmp_path / "plain") == OURS | {f"{key}.png" for key in KEYS}


def test_a_head_of_masks_has_all_but_confidence(
    run: Run, tile_folder: Path, out: Path, tiny_graph: Callable[[str], Path]
) -> None:
    options = ALL | {"engine": tiny_graph("mask")}
    with pytest.raises(UsageError, match="gives mask alone; export the model with dlcv-export --head probs"):
        run(tile_folder, **options)
    assert not out.exists(), "refused before anything was made"
    run(tile_folder, **(options | {"confidence": False}))
    feature = json.loads((out / "polygons/a.png.geojson").read_text())["features"][0]
    assert "confidence" not in feature["properties"]
    assert {row["confidence"] for row in table(out / "gallery/tiles.csv")} == {""}


def test_tiles_of_other_sizes(
    run: Run, tmp_path: Path, out: Path, tiny_scenes: list[NDArray[np.uint8]], write_tile: Callable[..., None]
) -> None:
    scene = np.tile(tiny_scenes[0], (2, 3, 1))
    for name, image in {"large.png": scene[:100, :131], "small.png": scene[:40, :50], "dot.png": scene[:1, :1]}.items():
        write_tile(tmp_path / "t" / name, image)
    assert run(tmp_path / "t", **ALL).failed == 0
    mask = read_mask(out / "large.png.png")
    with Image.open(out / "confidence/large.png.png") as image, Image.open(out / "overlays/large.png.jpg") as picture:
        assert image.size == picture.size == (131, 100) == mask.shape[::-1]
    values = json.loads((out / "polygons/large.png.geojson").read_text())
    assert (values["width"], values["height"]) == (131, 100)
    assert sum(feature["properties"]["pixels"] for feature in values["features"]) == mask.size


def test_simplify_and_min_area_reach_the_polygons(run: Run, tile_folder: Path, out: Path) -> None:
    run(tile_folder, polygons=True, simplify=2.0, min_area=9)
    mask = read_mask(out / "a.png.png")
    expected = [p.pixels for p in polygons_of(mask, min_area=9)]
    values = json.loads((out / "polygons/a.png.geojson").read_text())
    assert [feature["properties"]["pixels"] for feature in values["features"]] == expected
    simple = json.loads(geojson(polygons_of(mask, simplify=2.0, min_area=9), ()))
    assert [f["geometry"] for f in values["features"]] == [f["geometry"] for f in simple["features"]]


@pytest.mark.parametrize("gone", [*KINDS, "areas.csv", "confidence.csv", "gallery/tiles.csv", "gallery/index.html"])
def test_an_extra_that_was_deleted_is_made_again(run: Run, tile_folder: Path, out: Path, gone: str) -> None:
    run(tile_folder, **ALL)
    before = contents(out)
    of_a_tile = gone in KINDS
    (out / (beside(gone, "sub/c.png") if of_a_tile else gone)).unlink()
    summary = run(tile_folder, resume=True, **ALL)
    assert summary.resumed == (5 if of_a_tile else 6 if gone.endswith("html") else 0)
    assert contents(out) == before
    assert (out / "gallery/index.html").exists()


def test_a_finished_run_is_left_alone(run: Run, tile_folder: Path, out: Path) -> None:
    run(tile_folder, **ALL)
    before = {name: (out / name).stat().st_mtime_ns for name in files_in(out) - {"summary.json", "gallery/index.html"}}
    assert run(tile_folder, resume=True, **ALL).resumed == 6
    assert {name: (out / name).stat().st_mtime_ns for name in before} == before


def test_a_tile_that_changed_has_its_extras_made_again(run: Run, tile_folder: Path, out: Path) -> None:
    run(tile_folder, **ALL)
    before = contents(out)
    os.replace(tile_folder / "b.png", tile_folder / "a.png")  # a.png is now what b.png was
    os.utime(tile_folder / "a.png", (time.time() + 20, time.time() + 20))
    summary = run(tile_folder, resume=True, **ALL)
    assert (summary.tiles, summary.resumed) == (5, 4)
    for kind in KINDS:
        assert (out / beside(kind, "a.png")).read_bytes() == before[beside(kind, "b.png")]
    rows = [row for row in table(out / "areas.csv") if row["path"] == "a.png"]
    assert len({row["class"] for row in rows}) == len(rows), "its old rows are gone"


def test_a_tile_that_fails_when_it_is_run_again_leaves_nothing_behind(run: Run, tile_folder: Path, out: Path) -> None:
    """What was made of the image that it was is not taken for what it is now."""
    run(tile_folder, **ALL)
    (tile_folder / "a.png").write_bytes((tile_folder / "a.png").read_bytes()[:40])
    assert run(tile_folder, resume=True, **ALL).failed == 1
    left = files_in(out)
    assert not {"a.png.png", *(beside(kind, "a.png") for kind in KINDS)} & left
    assert {"b.png.png", *(beside(kind, "b.png") for kind in KINDS)} <= left


def test_a_resumed_run_must_have_the_same_extras(run: Run, tile_folder: Path) -> None:
    run(tile_folder, overlay=True)
    with pytest.raises(
        UsageError, match=r"other settings: overlay \(.*\), alpha \(.*\), overlay_format \(.*\); start again"
    ):
        run(tile_folder, resume=True)
    with pytest.raises(UsageError, match=r"other settings: alpha \(.*\); start again"):
        run(tile_folder, resume=True, overlay=True, alpha=0.7)
    with pytest.raises(
        UsageError,
        match=r"other settings: polygons \(.*\), simplify \(.*\), min_area \(.*\), gallery \(.*\); start again",
    ):
        run(tile_folder, resume=True, overlay=True, polygons=True, gallery=True)


def test_overwrite_takes_the_extras_away(run: Run, tile_folder: Path, out: Path) -> None:
    run(tile_folder, **ALL)
    (out / "overlays/mine.jpg").write_text("somebody's own")
    run(tile_folder, overwrite=True)
    assert files_in(out) == OURS | {f"{key}.png" for key in KEYS} | {"overlays/mine.jpg"}


def test_a_name_that_two_things_would_have_is_refused(run: Run, tmp_path: Path, tile_folder: Path) -> None:
    (tile_folder / "confidence").mkdir()
    os.replace(tile_folder / "b.png", tile_folder / "confidence" / "a.png")
    with pytest.raises(
        UsageError, match=r"the mask of confidence/a\.png and confidence of a\.png would both be confidence/"
    ):
        run(tile_folder, confidence=True)
    assert run(tile_folder, confidence=True, name_template="masks/{path}.png").failed == 0


def test_a_tile_whose_extra_cannot_be_written_leaves_nothing(run: Run, tile_folder: Path, out: Path) -> None:
    (out / "polygons").mkdir(parents=True)
    (out / "polygons/sub").write_text("in the way")
    summary = run(tile_folder, **ALL)
    assert (summary.done, summary.failed) == (2, 4)
    left = files_in(out) - OURS - TABLES - {"polygons/sub"}
    assert left == {f"{key}.png" for key in KEYS[:2]} | {beside(kind, key) for kind in KINDS for key in KEYS[:2]}
    assert {row["path"] for row in table(out / "areas.csv")} == set(KEYS[:2])
    (out / "polygons/sub").unlink()
    assert run(tile_folder, resume=True, **ALL).failed == 0


def test_somebody_elses_table_is_not_written_over(run: Run, tile_folder: Path, out: Path) -> None:
    out.mkdir()
    (out / "areas.csv").write_text("parcel,owner\n")
    with pytest.raises(UsageError, match="holds a run already"):
        run(tile_folder, areas=True)
    assert (out / "areas.csv").read_text() == "parcel,owner\n"


def test_no_room_ends_the_run_and_what_is_there_is_whole(
    run: Run, tile_folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dlcv.runtime.outputs import named_files

    real = named_files.write_bytes

    def full(path: Path, data: bytes) -> None:
        if path.parent.name == "deep" and "overlays" in path.parts:
            raise OutputError(f"cannot write {path}: No space left on device")
        real(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(named_files, "write_bytes", full)
        with pytest.raises(OutputError, match="No space left"):
            run(tile_folder, **ALL)
    run(tile_folder, resume=True, **ALL)
    straight = out.with_name("straight")
    run(tile_folder, output=straight, **ALL)
    assert contents(out) == contents(straight)


@pytest.mark.slow
def test_killed_and_resumed_is_as_if_it_had_not_been(
    run: Run,
    tile_folder: Path,
    out: Path,
    tmp_path: Path,
    tiny_graph: Callable[[str], Path],
    command_line: Callable[..., list[str]],
    command_env: dict[str, str],
) -> None:
    for number in range(40):
        for key in ("a.png", "b.png"):
            (tile_folder / f"{number}{key}").write_bytes((tile_folder / key).read_bytes())
    options = [f"--{name}" for name in ALL]
    for wait in (3, 12, 30):
        again = ["--resume"] if (out / "manifest.csv").exists() else []
        command = command_line(
            "dlcv-infer", tile_folder, "--engine", tiny_graph("probs"), "--output", out, *options, *again
        )
        with subprocess.Popen(command, env=command_env, stderr=subprocess.PIPE) as process:
            deadline = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < deadline:
                manifest = out / "manifest.csv"
                if manifest.exists() and manifest.read_bytes().count(b"\n") > wait:
                    process.send_signal(signal.SIGKILL)
                    break
                time.sleep(0.002)
    for row in read_manifest(out / "manifest.csv"):
        for kind in KINDS:
            assert (out / beside(kind, row.path)).stat().st_size > 0, "extras are whole before the row is there"
    run(tile_folder, resume=True, **ALL)
    run(tile_folder, output=tmp_path / "straight", **ALL)
    assert contents(out) == contents(tmp_path / "straight")


def test_images_are_let_go_when_their_tile_is_done(
    run: Run, tile_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dlcv.runtime.run import course

    works = []

    class Watched(course.TileWork):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            works.append(self)

    monkeypatch.setattr(course, "TileWork", Watched)
    run(tile_folder, **ALL)
    assert len(works) == 6
    assert all(work.image_rgb is None for work in works)
