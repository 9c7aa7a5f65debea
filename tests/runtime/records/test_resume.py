"""What a resumed run redoes: tiles that are not the files that were answered, whatever the clocks say."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dlcv.runtime.outputs.beside import MASK_THUMBNAIL, OVERLAY_JPG, POLYGONS, THUMBNAIL, beside
from dlcv.runtime.records.manifest import DONE, Row, read_manifest
from dlcv.runtime.records.resume import FilesThere, before
from dlcv.runtime.run.inference import InferSettings, Summary, infer
from dlcv.runtime.tiles.decode import decode_file
from dlcv.runtime.tiles.tile_list import Tile

Run = Callable[..., Summary]
HOUR_S = 3600


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def run(out: Path, tiny_onnx: Path) -> Run:
    def run(*sources: Path, **settings: Any) -> Summary:
        given = {"engine": tiny_onnx, "output": out, "device": "cpu", "quiet": True, "decoders": 1, "writers": 1}
        say = settings.pop("say", lambda _: None)
        return infer(InferSettings.of(sources=tuple(map(str, sources)), **given | settings), say=say)

    return run


def shift(path: Path, seconds: float) -> None:
    then = time.time() + seconds
    os.utime(path, (then, then))


def test_a_tile_that_an_older_file_replaced_is_run_again(run: Run, tile_folder: Path, out: Path) -> None:
    """As `cp -p`, `rsync` and archives do it: the file is another one, and older than its mask."""
    shift(tile_folder / "b.png", -HOUR_S)
    run(tile_folder)
    os.replace(tile_folder / "b.png", tile_folder / "a.png")
    summary = run(tile_folder, resume=True)
    assert (summary.tiles, summary.resumed) == (5, 4)
    assert (out / "a.png.png").read_bytes() == (out / "b.png.png").read_bytes(), "a.png is what b.png was"


def test_a_row_of_a_table_is_not_taken_for_as_new_as_the_table(
    run: Run, colour_engine: Path, colour_folder: Path, out: Path, write_tile: Callable[..., None], colours: Any
) -> None:
    """A tile is written after its own row and before the table's last one."""
    run(colour_folder, engine=colour_engine)
    write_tile(colour_folder / "red.png", colours.colour_tile("blue"))
    shift(out / "predictions.csv", 5)
    summary = run(colour_folder, engine=colour_engine, resume=True)
    assert summary.resumed == 4
    assert summary.by_class == {"red": 1, "green": 1, "blue": 2, "grey": 1}


def test_a_row_of_areas_is_not_taken_for_as_new_as_the_table(run: Run, tile_folder: Path, out: Path) -> None:
    run(tile_folder, areas=True)
    shift(tile_folder / "b.png", -HOUR_S)
    os.replace(tile_folder / "b.png", tile_folder / "a.png")
    run(tile_folder, areas=True, resume=True)
    rows = [line.split(",", 1) for line in (out / "areas.csv").read_text().splitlines()]
    assert [row for key, row in rows if key == "a.png"] == [row for key, row in rows if key == "b.png"]


@pytest.mark.parametrize("seconds", [HOUR_S, -HOUR_S, -60 * 365 * 24 * HOUR_S])
def test_clocks_do_not_matter(run: Run, tile_folder: Path, out: Path, seconds: float) -> None:
    """The camera's clock is ahead, or the box's was set back, or has lost its battery (1970 and before)."""
    shift(tile_folder / "a.png", seconds)
    run(tile_folder)
    shift(out / "b.png.png", -2 * HOUR_S)  # the box's own clock jumped between mask and mask
    assert run(tile_folder, resume=True).resumed == 6
    shift(tile_folder / "a.png", seconds - 1)
    assert run(tile_folder, resume=True).resumed == 5
    assert run(tile_folder, resume=True).resumed == 6


def test_another_size_at_the_same_time_is_another_tile(run: Run, tile_folder: Path) -> None:
    run(tile_folder)
    path = tile_folder / "a.png"
    before = path.stat()
    with open(path, "ab") as file:
        file.write(b"more")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert run(tile_folder, resume=True).resumed == 5


@pytest.mark.parametrize("moment", ["just before it is read", "just after it was read"])
def test_a_tile_that_changes_during_the_run_is_run_again(
    run: Run, tile_folder: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """It is replaced by an older file, while the run has it in hand: no clock shows it."""
    shutil.copy2(tile_folder / "b.png", tmp_path / "older.png")
    shift(tmp_path / "older.png", -HOUR_S)

    def exchanged(path: Path, *options: Any) -> NDArray[np.uint8]:
        image = None if path.name == "a.png" and moment == "just before it is read" else decode_file(path, *options)
        if path.name == "a.png" and (tmp_path / "older.png").exists():
            os.replace(tmp_path / "older.png", path)
        return decode_file(path, *options) if image is None else image

    with monkeypatch.context() as patched:
        patched.setattr("dlcv.runtime.tiles.decode.decode_file", exchanged)
        run(tile_folder)
    summary = run(tile_folder, resume=True)
    assert summary.resumed == 5
    assert (out / "a.png.png").read_bytes() == (out / "b.png.png").read_bytes()
    assert run(tile_folder, resume=True).resumed == 6


def test_a_georeferenced_tile_is_known_by_what_it_was(
    run: Run, tile_folder: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rasterio = pytest.importorskip("rasterio")
    from dlcv.runtime.large import run as large_run

    path = tile_folder / "geo.tif"
    transform = rasterio.Affine(0.5, 0, 325_000, 0, -0.5, 2_790_000)
    with rasterio.open(
        path, "w", driver="GTiff", width=64, height=64, count=3, dtype="uint8", crs="EPSG:32640", transform=transform
    ) as file:
        file.write(np.zeros((3, 64, 64), np.uint8))
    source = large_run.Source

    def touched(where: Path, *options: Any) -> Any:
        opened = source(where, *options)
        shift(where, -HOUR_S)
        return opened

    with monkeypatch.context() as patched:
        patched.setattr(large_run, "Source", touched)
        run(path)
    assert [row.status for row in read_manifest(out / "manifest.csv")] == [DONE]
    assert run(path, resume=True).resumed == 0
    assert run(path, resume=True).resumed == 1


def test_extras_of_a_tile_that_an_older_file_replaced_are_made_again(run: Run, tile_folder: Path, out: Path) -> None:
    extras = {"overlay": True, "polygons": True, "gallery": True}
    shift(tile_folder / "b.png", -HOUR_S)
    run(tile_folder, **extras)
    os.replace(tile_folder / "b.png", tile_folder / "a.png")
    assert run(tile_folder, resume=True, **extras).resumed == 4
    for kind in (OVERLAY_JPG, POLYGONS, THUMBNAIL, MASK_THUMBNAIL):
        assert (out / beside(kind, "a.png")).read_bytes() == (out / beside(kind, "b.png")).read_bytes()


def old_manifest(folder: Path, columns: int = 4) -> None:
    """What releases before wrote: without the last columns; without 4 of them no size and no time of the tile either."""
    path = folder / "manifest.csv"
    path.write_text("".join(line.rsplit(",", columns)[0] + "\n" for line in path.read_text().splitlines()))


def test_a_run_of_an_earlier_release_is_gone_on_with_by_its_times(run: Run, tile_folder: Path, out: Path) -> None:
    run(tile_folder)
    old_manifest(out)
    assert run(tile_folder, resume=True).resumed == 6
    old_manifest(out)
    shift(tile_folder / "a.png", HOUR_S)
    assert run(tile_folder, resume=True).resumed == 5
    rows = {row.path: row for row in read_manifest(out / "manifest.csv")}
    assert [key for key, row in rows.items() if row.tile is not None] == ["a.png"]
    assert run(tile_folder, resume=True).resumed == 6, "from its second row on a.png is known, its hour ahead or not"


def test_what_is_not_there_does_not_hold(tmp_path: Path) -> None:
    tiles = [Tile(tmp_path / name, name) for name in ("a", "gone", "old", "orphan", "never")]
    for name in ("a", "a.png", "old", "old.png", "orphan"):
        (tmp_path / name).touch()
    (tmp_path / "old.png").touch()
    rows = {name: Row(name, DONE, f"{name}.png") for name in ("gone", "old", "orphan")}
    rows["a"] = Row("a", DONE, "a.png", tile=tiles[0].fingerprint())
    rows["no output"] = Row("no output", DONE, "no.png", tile=tiles[0].fingerprint())
    found = before([*tiles, Tile(tmp_path / "a", "no output")], rows, tmp_path)
    assert (found.holds, found.damaged) == ({"a": "a.png", "old": "old.png"}, {})
    assert Tile("with\0nul", "k").fingerprint() is None


def test_files_there(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/x").touch()
    (tmp_path / "y").touch()
    there = FilesThere(tmp_path)
    found = [name in there for name in ("y", "sub/x", "sub", "z", "sub/z", "no/x", "", "nul\0/x")]
    assert found == [True, True, False, False, False, False, False, False]
    (tmp_path / "y").write_bytes(b"five5")
    sizes = FilesThere(tmp_path, sizes=True)
    assert [sizes.size(name) for name in ("y", "sub/x", "sub", "z", "no/x")] == [5, 0, None, None, None]


@pytest.mark.parametrize("count", [1, 2])
def test_tiles_that_are_gone_are_told_and_their_masks_stay(run: Run, tile_folder: Path, out: Path, count: int) -> None:
    run(tile_folder)
    names = ["a.png", "b.png"][:count]
    for name in names:
        (tile_folder / name).unlink()
    said: list[str] = []
    summary = run(tile_folder, resume=True, say=said.append)
    assert (summary.tiles, summary.done, summary.resumed) == (6 - count, 6 - count, 6 - count)
    assert (
        said
        == [
            "a.png, which an earlier run did, is not among the tiles now; what was written of it stays",
            "2 tiles that earlier runs did, such as a.png, are not among the tiles now; what was written of them stays",
        ][count - 1 : count]
    )
    assert all((out / f"{name}.png").exists() for name in names)
    assert {row.path for row in read_manifest(out / "manifest.csv")} >= set(names)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def replace(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


@pytest.mark.parametrize("harm", [truncate, empty, replace])
def test_a_mask_that_is_not_as_it_was_written_is_made_again(
    run: Run, tile_folder: Path, out: Path, harm: Callable[[Path], None]
) -> None:
    """As a power cut leaves it: the name and the row are on the disk, the bytes are not."""
    run(tile_folder)
    before = (out / "a.png.png").read_bytes()
    harm(out / "a.png.png")
    said: list[str] = []
    summary = run(tile_folder, resume=True, say=said.append)
    assert (summary.resumed, summary.done, (out / "a.png.png").read_bytes()) == (5, 6, before)
    assert said[0] == "1 of 6 results are not as they were written, such as a.png.png; these tiles are run again"
    assert run(tile_folder, resume=True).resumed == 6


@pytest.mark.parametrize("kind", [OVERLAY_JPG, POLYGONS, THUMBNAIL, MASK_THUMBNAIL])
def test_extras_that_are_not_as_they_were_written_are_made_again(
    run: Run, tile_folder: Path, out: Path, kind: str
) -> None:
    extras = {"overlay": True, "polygons": True, "gallery": True}
    run(tile_folder, **extras)
    path = out / beside(kind, "a.png")
    before = path.read_bytes()
    truncate(path)
    assert run(tile_folder, resume=True, **extras).resumed == 5
    assert path.read_bytes() == before
    assert run(tile_folder, resume=True, **extras).resumed == 6


def test_the_last_tile_of_a_torn_table_is_made_again(run: Run, tile_folder: Path, out: Path) -> None:
    """It has a row a class, of which some may be missing."""
    run(tile_folder, areas=True)
    table = out / "areas.csv"
    before = sorted(table.read_bytes().splitlines())
    table.write_bytes(table.read_bytes()[:-3])
    assert run(tile_folder, areas=True, resume=True).resumed == 5
    assert sorted(table.read_bytes().splitlines()) == before


@pytest.mark.parametrize("harm", [truncate, empty])
@pytest.mark.parametrize("columns", [2, 4])
def test_a_mask_of_an_earlier_release_is_looked_at(
    run: Run, tile_folder: Path, out: Path, harm: Callable[[Path], None], columns: int
) -> None:
    """Its manifest does not tell the size: a PNG has an end that can be seen."""
    run(tile_folder)
    old_manifest(out, columns)
    assert run(tile_folder, resume=True).resumed == 6
    harm(out / "a.png.png")
    assert run(tile_folder, resume=True).resumed == 5
