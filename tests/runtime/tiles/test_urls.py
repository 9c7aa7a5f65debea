"""Tiles at URLs, through fsspec's file systems in memory and on disk."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dlcv.runtime.errors import MissingPackageError, TileError, UsageError
from dlcv.runtime.records.manifest import read_manifest
from dlcv.runtime.run.inference import InferSettings, Summary, infer
from dlcv.runtime.tiles.listing import find_tiles, source_folders
from dlcv.runtime.tiles.urls import is_url, read_url, state_of

fsspec = pytest.importorskip("fsspec", reason="the urls extra is not installed")


@pytest.fixture
def bucket(tile_folder: Path) -> Iterator[str]:
    """`memory://bucket/tiles` with the six tiles, a label, a hidden file and a text."""
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    for path in tile_folder.rglob("*.png"):
        memory.pipe(f"/bucket/tiles/{path.relative_to(tile_folder).as_posix()}", path.read_bytes())
    data = (tile_folder / "a.png").read_bytes()
    for name in ("x_sat.jpg", "x_mask.png", ".hidden.png", ".h/y.png", "notes.txt"):
        memory.pipe(f"/bucket/tiles/{name}", data)
    yield "memory://bucket/tiles"
    memory.store.clear()


SIX = ["a.png", "b.png", "sub/c.png", "sub/d.png", "sub/deep/e.png", "sub/deep/f.png"]


def test_what_is_a_url() -> None:
    assert is_url("s3://bucket/a") and is_url("memory://x") and is_url("file:///a")
    assert not is_url("tiles/") and not is_url("c:/tiles") and not is_url("./s3://bucket")


def test_a_folder_a_pattern_and_a_file(bucket: str) -> None:
    said: list[str] = []
    tiles = find_tiles([bucket], say=said.append)
    assert [tile.key for tile in tiles] == [*SIX, "x_sat.jpg"]
    assert tiles[2].where == "memory:///bucket/tiles/sub/c.png"
    assert said[0].startswith("1 label beside its image was left out")
    assert [tile.key for tile in find_tiles([bucket + "/"])] == [tile.key for tile in tiles]
    assert [tile.key for tile in find_tiles([bucket + "/sub/*.png"])] == ["c.png", "d.png"]
    assert [tile.key for tile in find_tiles([bucket + "/**/e.png"])] == ["sub/deep/e.png"]
    assert [tile.key for tile in find_tiles([bucket + "/x_mask.png"])] == ["x_mask.png"], "named itself"
    assert source_folders([bucket]) == [bucket]


def test_what_is_not_there(bucket: str) -> None:
    with pytest.raises(UsageError, match=r"^memory://bucket/none does not exist, or holds nothing$"):
        find_tiles(["memory://bucket/none"])
    with pytest.raises(UsageError, match=r"^nosuch://x: Protocol not known: nosuch"):
        find_tiles(["nosuch://x"])
    with pytest.raises(TileError, match="there is no such file"):
        read_url("memory://bucket/none.png", 10)
    with pytest.raises(TileError, match=r"the file has \d+ bytes, more than the limit of 10; cut it into tiles"):
        read_url(bucket + "/a.png", 10)
    assert state_of("memory://bucket/none") is None


def test_without_fsspec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(
        MissingPackageError,
        match=r"^fsspec is needed to read tiles at URLs; install it with: pip install 'dlcv-edge\[urls\]'$",
    ):
        find_tiles(["s3://bucket/"])


def test_without_the_package_of_a_kind_of_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    registry = sys.modules["fsspec.registry"]._registry  # `fsspec.registry` is a view of it, of the module's name
    for kind in ("s3", "s3a"):  # loaded by other tests of this process
        monkeypatch.delitem(registry, kind, raising=False)
    with pytest.raises(MissingPackageError, match=r"install it with: pip install 'dlcv-edge\[s3\]'$"):
        find_tiles(["s3://bucket/"])


def _infer(engine: Path, source: str, output: Path, **options: Any) -> Summary:
    return infer(InferSettings.of(engine=engine, sources=(source,), output=output, quiet=True, batch=1, **options))


def test_a_run_over_urls_writes_what_a_run_over_files_writes(
    tiny_onnx: Path, bucket: str, tile_folder: Path, tmp_path: Path
) -> None:
    memory = fsspec.filesystem("memory")
    for name in ("x_sat.jpg", "x_mask.png"):
        memory.rm(f"/bucket/tiles/{name}")
    memory.pipe("/bucket/tiles/bad.png", b"no image")
    (tile_folder / "bad.png").write_bytes(b"no image")
    here, there = (
        _infer(tiny_onnx, source, tmp_path / name) for name, source in (("files", str(tile_folder)), ("urls", bucket))
    )
    assert (there.done, there.failed) == (here.done, here.failed) == (6, 1)
    for name in SIX:
        assert (tmp_path / "urls" / f"{name}.png").read_bytes() == (tmp_path / "files" / f"{name}.png").read_bytes()
    files, urls = (sorted(read_manifest(tmp_path / name / "manifest.csv")) for name in ("files", "urls"))
    assert [row._replace(tile=None) for row in files] == [row._replace(tile=None) for row in urls]
    assert [row.tile and row.tile.size for row in files] == [row.tile and row.tile.size for row in urls]


def test_resume_asks_when_a_url_was_written(tiny_onnx: Path, bucket: str, tmp_path: Path) -> None:
    assert _infer(tiny_onnx, bucket, tmp_path / "m").done == 7
    assert _infer(tiny_onnx, bucket, tmp_path / "m", resume=True).resumed == 7
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/tiles/sub/c.png", memory.cat_file("/bucket/tiles/a.png"))
    assert _infer(tiny_onnx, bucket, tmp_path / "m", resume=True).resumed == 6
    assert (tmp_path / "m/sub/c.png.png").read_bytes() == (tmp_path / "m/a.png.png").read_bytes()
    with pytest.raises(UsageError, match="other settings: folders "):
        _infer(tiny_onnx, bucket + "/sub", tmp_path / "m", resume=True)


def test_a_url_on_disk(tiny_onnx: Path, tile_folder: Path, tmp_path: Path) -> None:
    assert _infer(tiny_onnx, tile_folder.as_uri(), tmp_path / "m").done == 6
    assert (tmp_path / "m/a.png.png").read_bytes()[:4] == b"\x89PNG"
