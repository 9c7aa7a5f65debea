"""What a run must never do: write over its inputs or somebody's files, or take masks of other tiles for its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dlcv.runtime.cli.common import refuse_to_overwrite
from dlcv.runtime.errors import EngineError, OutputError, UsageError
from dlcv.runtime.masks import read_mask
from dlcv.runtime.provenance import Trust
from dlcv.runtime.records.manifest import read_manifest
from dlcv.runtime.run.inference import InferSettings, Summary, infer
from dlcv.runtime.tiles.listing import find_tiles

Scenes = list[NDArray[np.uint8]]


@pytest.fixture
def run(tiny_onnx: Path, tmp_path: Path) -> Callable[..., Summary]:
    def run(source: Path, **settings: Any) -> Summary:
        given = {"output": tmp_path / "masks", "device": "cpu", "quiet": True, "engine": tiny_onnx} | settings
        return infer(InferSettings.of(sources=(str(source),), **given))

    return run


@pytest.fixture
def two_folders(tmp_path: Path, write_tile: Callable[..., None], tiny_scenes: Scenes) -> tuple[Path, Path]:
    """`c/x.png` and `d/x.png`, different tiles of one name."""
    for name, scene in zip("cd", tiny_scenes):
        write_tile(tmp_path / name / "x.png", scene)
    return tmp_path / "c", tmp_path / "d"


def test_labels_beside_their_images_are_no_tiles(tmp_path: Path) -> None:
    for name in ("a_sat.jpg", "a_mask.png", "b_mask.png", "c.jpg"):
        (tmp_path / name).touch()
    said: list[str] = []
    assert [tile.key for tile in find_tiles([str(tmp_path)], say=said.append)] == ["a_sat.jpg", "b_mask.png", "c.jpg"]
    (line,) = said
    assert line == (
        f"1 label beside its image was left out, such as {tmp_path / 'a_mask.png'}; to run one, name the file itself"
    )
    assert [tile.key for tile in find_tiles([str(tmp_path / "a_mask.png")], say=said.append)] == ["a_mask.png"]
    assert len(said) == 1


@pytest.mark.parametrize("as_url", [False, True], ids=["folder", "url"])
def test_labels_in_a_folder_beside_that_of_their_images_are_no_tiles(tmp_path: Path, as_url: bool) -> None:
    if as_url:
        pytest.importorskip("fsspec", reason="the urls extra is not installed")
    names = ("images/a.jpg", "images/val/b.jpg", "masks/a.png", "masks/val/b.png", "masks/c.png", "x/labels/d.png")
    for name in (*names, "x/images/d.tif", "images/masks/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    tiles = ["images/a.jpg", "images/masks/e.png", "images/val/b.jpg", "masks/c.png", "x/images/d.tif"]
    said: list[str] = []
    source = tmp_path.as_uri() if as_url else str(tmp_path)
    assert sorted(tile.key for tile in find_tiles([source], say=said.append)) == tiles
    assert len(said) == 1
    assert said[0].startswith("3 labels beside their images were left out, such as ")
    assert [tile.key for tile in find_tiles([str(tmp_path / "masks")])] == ["a.png", "c.png", "val/b.png"], (
        "named itself"
    )


def test_a_run_over_another_folder_is_not_resumed(run: Callable[..., Summary], two_folders: tuple[Path, Path]) -> None:
    run(two_folders[0])
    with pytest.raises(
        UsageError, match=r"holds a run with other settings: folders \(.*, now .*\); start again with --overwrite"
    ):
        run(two_folders[1], resume=True)


def test_a_tile_that_is_newer_than_its_mask_is_run_again(
    run: Callable[..., Summary], two_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    run(two_folders[0])
    before = read_mask(tmp_path / "masks/x.png.png")
    assert run(two_folders[0], resume=True).resumed == 1
    shutil.copyfile(two_folders[1] / "x.png", two_folders[0] / "x.png")
    later = (tmp_path / "masks/x.png.png").stat().st_mtime + 10
    os.utime(two_folders[0] / "x.png", (later, later))
    assert run(two_folders[0], resume=True).resumed == 0
    assert not np.array_equal(read_mask(tmp_path / "masks/x.png.png"), before)


def test_inputs_are_not_written_over(run: Callable[..., Summary], two_folders: tuple[Path, Path]) -> None:
    before = (two_folders[0] / "x.png").read_bytes()
    with pytest.raises(UsageError, match=r"the mask of x\.png would be written over an input, .*c/x\.png"):
        run(two_folders[0], output=two_folders[0], name_template="{path}")
    assert (two_folders[0] / "x.png").read_bytes() == before


def test_the_engine_is_not_written_over(
    run: Callable[..., Summary], two_folders: tuple[Path, Path], tiny_onnx: Path, tmp_path: Path
) -> None:
    engine = shutil.copyfile(tiny_onnx, tmp_path / "x.onnx")
    with pytest.raises(UsageError, match="would be written over an input"):
        run(two_folders[0], engine=engine, output=tmp_path, name_template="{stem}.onnx")
    assert engine.read_bytes() == tiny_onnx.read_bytes()


@pytest.mark.parametrize(
    "template",
    [
        "manifest.csv",
        "run.json",
        "summary.json",
        ".dlcv-lock",
        "predictions.csv",
        "predictions.jsonl",
        "{stem}.partial",
    ],
)
def test_names_that_the_run_needs_are_refused(
    run: Callable[..., Summary], two_folders: tuple[Path, Path], template: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="a name that the run itself needs"):
        run(two_folders[0], name_template=template)
    assert not (tmp_path / "masks").exists()


@pytest.mark.parametrize("name", ["summary.json", "run.json", "manifest.csv", "predictions.csv", "predictions.jsonl"])
def test_files_of_somebody_else_stay(
    run: Callable[..., Summary], two_folders: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / name).write_text('{"mine": 1}\n')
    with pytest.raises(UsageError, match="holds a run already"):
        run(two_folders[0])
    assert (tmp_path / "masks" / name).read_text() == '{"mine": 1}\n'


def test_overwrite_leaves_no_mask_of_the_run_before(
    run: Callable[..., Summary], two_folders: tuple[Path, Path], tile_folder: Path, tmp_path: Path
) -> None:
    run(tile_folder)
    (tmp_path / "masks/mine.png").write_bytes(b"not of the run")
    run(two_folders[0], overwrite=True)
    left = {path.relative_to(tmp_path / "masks").as_posix() for path in (tmp_path / "masks").rglob("*.png")}
    assert left == {"x.png.png", "mine.png"}
    assert [row.path for row in read_manifest(tmp_path / "masks/manifest.csv")] == ["x.png"]


def test_a_json_file_is_not_written_over_an_input(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").touch()
    refuse_to_overwrite(None, tmp_path / "a.onnx")
    refuse_to_overwrite(tmp_path / "new.json", tmp_path / "a.onnx", tmp_path / "absent")
    with pytest.raises(UsageError, match="is an input and would be overwritten; name another file"):
        refuse_to_overwrite(tmp_path / "." / "a.onnx", tmp_path / "a.onnx")
    with pytest.raises(UsageError, match="cannot be written: there is no folder"):
        refuse_to_overwrite(tmp_path / "no/p.json", tmp_path / "a.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"], "nothing is left of the trial"


def test_a_json_file_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*folder: it is a folder; name a file in it"):
        refuse_to_overwrite(tmp_path / "folder")
    with pytest.raises(OutputError, match=r"cannot write .*: File name too long"):
        refuse_to_overwrite(tmp_path / (300 * "x"))
    (tmp_path / "old.json").write_text("old")
    refuse_to_overwrite(tmp_path / "old.json")
    assert (tmp_path / "old.json").read_text() == "old"
    refuse_to_overwrite(Path(os.devnull))


@pytest.mark.skipif(os.name == "nt", reason="symbolic links of a Unix")
@pytest.mark.parametrize("link", ["tile", "folder"])
def test_inputs_behind_links_are_not_written_over(
    run: Callable[..., Summary], two_folders: tuple[Path, Path], tmp_path: Path, link: str
) -> None:
    masks, links = tmp_path / "masks", tmp_path / "links"
    shutil.copytree(two_folders[0], masks)
    if link == "folder":
        links.symlink_to(masks)
    else:
        links.mkdir()
        (links / "x.png").symlink_to(masks / "x.png")
    before = (masks / "x.png").read_bytes()
    with pytest.raises(UsageError, match="would be written over an input"):
        run(links, name_template="{path}")
    assert (masks / "x.png").read_bytes() == before


def test_a_finished_run_is_resumed_without_its_engine(
    run: Callable[..., Summary], two_folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(two_folders[0])

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the engine was opened")

    with open(tmp_path / "masks/manifest.csv", "a") as file:
        file.write("torn")
    with monkeypatch.context() as patched:
        patched.setattr("dlcv.runtime.run.engine.open_session", refuse)
        summary = run(two_folders[0], resume=True)
    assert (summary.done, summary.resumed, summary.verdict) == (1, 1, "")
    assert (tmp_path / "masks/manifest.csv").read_text().endswith("\n"), "what a crash tore is dropped all the same"
    (tmp_path / "masks/x.png.png").unlink()
    assert run(two_folders[0], resume=True).resumed == 0


def test_an_engine_that_does_not_open_costs_no_earlier_run(
    run: Callable[..., Summary], two_folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(two_folders[0])
    before = (tmp_path / "masks/x.png.png").read_bytes()

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise EngineError("no such device")

    monkeypatch.setattr("dlcv.runtime.run.engine.open_session", refuse)
    with pytest.raises(EngineError):
        run(two_folders[0], overwrite=True)
    assert (tmp_path / "masks/x.png.png").read_bytes() == before
    assert len(list(read_manifest(tmp_path / "masks/manifest.csv"))) == 1


def test_a_finished_run_is_not_resumed_with_an_engine_that_must_not_be_run(
    run: Callable[..., Summary], two_folders: tuple[Path, Path]
) -> None:
    run(two_folders[0])
    with pytest.raises(EngineError, match="0000"):
        run(two_folders[0], resume=True, trust=Trust.of("0" * 64))
