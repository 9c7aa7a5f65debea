"""Which tiles are found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dlcv.runtime.errors import UsageError
from dlcv.runtime.tiles.listing import find_tiles, real_paths
from dlcv.runtime.tiles.names import IMAGE_SUFFIXES
from dlcv.runtime.tiles.tile_list import Tile


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "b.jpg",
        "a.PNG",
        "sub/c.tif",
        "sub/deep/d.webp",
        "notes.txt",
        ".hidden.jpg",
        ".git/e.jpg",
        "sub/x.csv",
    ):
        path = tmp_path / "tiles" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "tiles"


def _keys(*sources: object, leave_out: Path | None = None) -> list[str]:
    return [tile.key for tile in find_tiles([str(source) for source in sources], leave_out=leave_out)]


def test_a_folder_gives_its_images_with_their_structure_and_nothing_hidden(folder: Path) -> None:
    assert _keys(folder) == ["a.PNG", "b.jpg", "sub/c.tif", "sub/deep/d.webp"]
    assert find_tiles([str(folder)])[2].path == folder / "sub/c.tif"


def test_a_file_is_its_name_whatever_its_suffix(folder: Path) -> None:
    assert _keys(folder / "sub/deep/d.webp", folder / "notes.txt", folder / ".hidden.jpg") == [
        "d.webp",
        "notes.txt",
        ".hidden.jpg",
    ]


def test_a_glob_keeps_the_path_below_its_fixed_part(folder: Path) -> None:
    assert _keys(folder / "*.jpg") == ["b.jpg"]
    assert _keys(folder / "**/*.tif") == ["sub/c.tif"]
    assert _keys(folder / "s*/deep/*") == ["sub/deep/d.webp"]


def test_a_relative_glob(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert _keys("*/*.tif") == ["sub/c.tif"]


def test_a_name_with_wildcards_in_it_is_that_file(folder: Path) -> None:
    (folder / "[a]*.jpg").write_bytes(b"x")
    assert _keys(folder / "[a]*.jpg") == ["[a]*.jpg"]


def test_the_same_tile_named_twice_is_run_once(folder: Path) -> None:
    assert _keys(folder, folder / "b.jpg") == ["a.PNG", "b.jpg", "sub/c.tif", "sub/deep/d.webp"]


def test_two_tiles_of_one_key_are_refused(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.jpg").write_bytes(b"x")
    with pytest.raises(
        UsageError, match=r"b\.jpg and .*other/b\.jpg would share the output name b\.jpg; run their folders one"
    ):
        find_tiles([str(folder), str(other)])


def test_the_output_folder_is_not_searched(folder: Path) -> None:
    (folder / "masks").mkdir()
    (folder / "masks/b.jpg.png").write_bytes(b"x")
    assert "masks/b.jpg.png" in _keys(folder)
    assert "masks/b.jpg.png" not in _keys(folder, leave_out=folder / "sub/../masks")


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([], "no tiles given; name files, folders or globs, such as: dlcv-infer tiles/"),
        (["nowhere"], "nowhere does not exist; name files, folders or globs"),
        (["nowhere/*.jpg"], r"no tiles in nowhere/\*\.jpg; looked for \.jpg, "),
        (["empty"], r"no tiles in empty; looked for \.jpg, \.jpeg, \.png"),
    ],
)
def test_no_tiles(sources: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    with pytest.raises(UsageError, match=f"^{message}"):
        find_tiles(sources)


def test_every_suffix_is_searched(tmp_path: Path) -> None:
    for suffix in IMAGE_SUFFIXES:
        (tmp_path / f"t{suffix}").write_bytes(b"x")
    assert len(_keys(tmp_path)) == len(IMAGE_SUFFIXES)


@pytest.mark.skipif(os.name == "nt", reason="Windows refuses these names")
def test_hostile_names_are_found(tmp_path: Path) -> None:
    names = [
        b"new\nline.png",
        b"comma,quote\"'.png",
        b"back\\slash.png",
        b"\xff\xfe.png",
        b"-dash.png",
        b"x" * 246 + b".png",
    ]
    for name in names:
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_bytes(b"x")
    assert sorted(map(os.fsencode, _keys(tmp_path))) == sorted(names)


def test_a_tile_is_small_and_gives_its_path() -> None:
    tile = Tile(Path("a") / "b.jpg", "b.jpg")
    assert (tile.where, tile.path) == ("a/b.jpg", Path("a/b.jpg"))
    assert tile == Tile("a/b.jpg", "b.jpg", plain=True)
    assert not hasattr(tile, "__dict__")


@pytest.mark.skipif(os.name == "nt", reason="symbolic links of a Unix")
def test_links_to_folders_are_not_followed_and_links_to_files_are_told(tmp_path: Path) -> None:
    (tmp_path / "tiles/sub").mkdir(parents=True)
    (tmp_path / "tiles/sub/a.png").touch()
    (tmp_path / "tiles/b.png").symlink_to(tmp_path / "tiles/sub/a.png")
    (tmp_path / "tiles/round").symlink_to(tmp_path / "tiles")
    (tmp_path / "elsewhere").symlink_to(tmp_path / "tiles")
    found = find_tiles([str(tmp_path / "elsewhere")])
    assert {tile.key: tile.plain for tile in found} == {"b.png": False, "sub/a.png": True}
    assert list(real_paths(found, os.path.realpath(tmp_path))) == [os.path.realpath(tmp_path / "tiles/sub/a.png")] * 2
    assert list(real_paths(found, os.path.realpath(tmp_path / "tiles/su"))) == []


def test_tiles_of_the_working_folder_have_no_dot_before_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a.png").touch()
    (tmp_path / "b.png").touch()
    monkeypatch.chdir(tmp_path)
    found = find_tiles(["."])
    assert [(tile.where, tile.key) for tile in found] == [("b.png", "b.png"), ("sub/a.png", "sub/a.png")]
    assert list(real_paths(found, os.path.realpath("."))) == [os.path.realpath(tile.where) for tile in found]
    assert list(real_paths(found, os.path.realpath("sub"))) == [os.path.realpath("sub/a.png")]


def test_a_folder_that_cannot_be_listed_is_no_empty_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def refuse(where: str) -> object:  # a superuser, as whom tests may run, is refused nothing
        if str(where).endswith("deep"):
            raise PermissionError(13, "Permission denied", where)
        return real(where)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(
        UsageError, match=r"sub/deep cannot be listed: Permission denied; make it readable, or name the"
    ):
        find_tiles([str(folder)])


def test_world_files_are_told(tmp_path: Path) -> None:
    """Those of an image that is a tile: nobody has to wonder where the georeference went."""
    for name in ("a.png", "a.pgw", "b.jpg", "b.JGW", "alone.pgw", "c.tif", "c.tfw", "d.png", "d.jgw"):
        (tmp_path / name).touch()
    said: list[str] = []
    assert len(find_tiles([str(tmp_path)], say=said.append)) == 4
    (line,) = said
    assert line.startswith("2 world files, such as ") and line.count("gdal_translate") == 1
    said.clear()
    find_tiles([str(tmp_path / "a.png")], say=said.append)
    assert said == [
        f"1 world file, such as {tmp_path / 'a.pgw'}, will not be used: what is made of a PNG or JPEG has no place on the ground; make it a GeoTIFF with: gdal_translate a.png a.tif"
    ]
    find_tiles([str(tmp_path / "d.png")], say=said.append)
    assert len(said) == 1


def test_what_earlier_runs_wrote_below_a_folder_is_left_out(folder: Path) -> None:
    for name in ("first", "sub/second"):
        (folder / name / "overlays").mkdir(parents=True)
        (folder / name / "run.json").write_text('{\n "written_by": "dlcv-infer"\n}\n')
        (folder / name / "b.jpg.png").write_bytes(b"x")
        (folder / name / "overlays/b.jpg.jpg").write_bytes(b"x")
    said: list[str] = []
    tiles = find_tiles([str(folder)], leave_out=folder / "none", say=said.append)
    assert [tile.key for tile in tiles] == ["a.PNG", "b.jpg", "sub/c.tif", "sub/deep/d.webp"]
    assert said == [
        f"2 folders of earlier runs were left out, such as {folder / 'first'}; to run what is in it, name the folder itself"
    ]
    assert _keys(folder / "first") == ["b.jpg.png", "overlays/b.jpg.jpg"]


@pytest.mark.parametrize("text", ['{"written_by": "somebody else"}', "", "[]"])
def test_a_run_json_of_somebody_else_hides_no_tiles(folder: Path, text: str) -> None:
    (folder / "sub/run.json").write_text(text)
    assert "sub/c.tif" in _keys(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of a Unix")
def test_a_pipe_by_the_name_of_run_json_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "sub/run.json")
    assert "sub/c.tif" in _keys(folder)
