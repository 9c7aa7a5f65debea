"""A folder that somebody else filled: every entry that is named like an image has its row, nothing outside the output is written,
nothing is waited for, and a folder of many files is listed in bounded memory.
"""

from __future__ import annotations

import csv
import os
import socket
import time
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from dlcv.runtime.records.journal import unescape
from dlcv.runtime.records.output_names import check_names
from dlcv.runtime.run.inference import InferSettings, Summary, infer
from dlcv.runtime.tiles.decode import decode_file
from dlcv.runtime.tiles.listing import find_tiles

pytestmark = pytest.mark.skipif(os.name == "nt", reason="names, links and devices of a Unix")
LISTING_BYTES, TILE_BYTES, KEPT_BYTES = 3 << 20, 20, 16
"""The most that listing a folder may take, and a tile at the peak of it and afterwards, of names of 46 characters: some thousands of them
are strings at a time (2 MB), the others are packed, twice where they are sorted; as strings a tile would be 380 bytes."""


@pytest.fixture
def run(tiny_onnx: Path, tmp_path: Path) -> Callable[..., Summary]:
    def run(folder: Path, **settings: Any) -> Summary:
        given = {"engine": tiny_onnx, "output": tmp_path / "out", "device": "cpu", "quiet": True, **settings}
        return infer(InferSettings.of(sources=(str(folder),), **given))

    return run


def written(folder: Path) -> set[bytes]:
    top = os.fsencode(folder)
    return {os.path.relpath(os.path.join(where, name), top) for where, _, names in os.walk(top) for name in names}


GOOD = (
    b"new\nline.png", b"carriage\r.png", b"\xff\xfe not utf-8.png", b"\x1b[2J.png", b"=cmd(),\"'.png", b"a..png.png",
    b"{path}.png", b"%s.png", b"\xe2\x80\xae gnp.png", b"sp ace /t\tab.png", b"<script>alert(1)/x.png",
)  # fmt: skip
LONG = (b"x" * 251 + b".png", "é".encode() * 125 + b"a.png")


@pytest.mark.parametrize("isolate", [False, True])
def test_every_entry_has_its_row(run: Callable[..., Summary], tile_folder: Path, tmp_path: Path, isolate: bool) -> None:
    folder, data = tmp_path / "hostile", (tile_folder / "a.png").read_bytes()
    top = os.fsencode(folder)
    for name in (*GOOD, *LONG):
        os.makedirs(os.path.dirname(os.path.join(top, name)), exist_ok=True)
        Path(os.fsdecode(os.path.join(top, name))).write_bytes(data)
    secret = tmp_path / "secret.txt"
    secret.write_text("not an image")
    os.mkfifo(folder / "pipe.png")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "s.png"))
    (folder / "device.png").symlink_to("/dev/zero")
    (folder / "out.png").symlink_to(secret)
    (folder / "round.png").symlink_to("round.png")
    (folder / "gone.png").symlink_to("nowhere")
    (folder / "loop").symlink_to(folder)
    (folder / "root").symlink_to("/")
    (folder / "folder.png").mkdir()
    reasons = {
        "pipe.png": "it is a pipe, a socket or a device, expected an image file", "s.png": "the file cannot be read: No such device",
        "device.png": "it is a pipe, a socket or a device, expected an image file", "out.png": "not an image: expected JPEG",
        "round.png": "the file cannot be read: Too many levels of symbolic links", "gone.png": "there is no such file",
    }  # fmt: skip
    before = written(tmp_path)
    start = time.monotonic()
    summary = run(folder, isolate=isolate)
    assert time.monotonic() - start < 60, "nothing is waited for"
    with open(tmp_path / "out/manifest.csv", newline="") as file:
        rows = {os.fsencode(unescape(row["path"])): row for row in csv.DictReader(file)}
    assert set(rows) == {*GOOD, *LONG, *map(os.fsencode, reasons)}
    assert {name for name, row in rows.items() if row["status"] == "done"} == set(GOOD)
    for name, reason in reasons.items():
        assert rows[os.fsencode(name)]["reason"].startswith(reason), rows[os.fsencode(name)]
    for name in LONG:
        assert "File name too long" in rows[name]["reason"]
    assert (summary.done, summary.failed) == (len(GOOD), len(LONG) + len(reasons))
    assert (tmp_path / "out/manifest.csv").read_bytes().count(b"\n") == 1 + len(rows), "a tile is one physical line"
    new = written(tmp_path) - before
    assert {name for name in new if not name.startswith(b"out/")} == set(), "nothing outside the output"
    assert {name[4:-4] for name in new if name.endswith(b".png.png")} == set(GOOD)
    assert secret.read_text() == "not an image"


def test_georeferenced_images_have_their_rows_too(
    run: Callable[..., Summary], tmp_path: Path, tile_folder: Path
) -> None:
    """What is read by windows is opened, and its mask begun, at another place than a tile's."""
    rasterio = pytest.importorskip("rasterio")
    folder, image = tmp_path / "hostile", decode_file(tile_folder / "a.png")
    place = {"crs": "EPSG:32640", "transform": rasterio.Affine(0.5, 0, 325_000, 0, -0.5, 2_790_000)}
    good = [name[:-4] + b".tif" for name in GOOD if b"utf-8" not in name] + [b"what?.tif", b"a#b!c.tif"]
    no_utf8 = b"\xff not utf-8.tif"
    long = (
        b"x" * 251 + b".tif",
        b"y" * 246 + b".tif",
    )  # of the second the mask's name fits, but not that of its polygons
    profile = {"driver": "GTiff", "width": 64, "height": 64, "count": 3, "dtype": "uint8", **place}
    with rasterio.open(tmp_path / "one.tif", "w", **profile) as file:
        file.write(image.transpose(2, 0, 1))
    for name in (*good, *long, b"taken.tif", no_utf8):
        os.makedirs(os.path.dirname(os.path.join(os.fsencode(folder), name)), exist_ok=True)
        Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).write_bytes((tmp_path / "one.tif").read_bytes())
    (folder / "taken.tif.tif").mkdir()
    (folder / "taken.tif.tif/z.png").write_bytes((tile_folder / "a.png").read_bytes())
    summary = run(folder, polygons=True)
    with open(tmp_path / "out/manifest.csv", newline="") as file:
        reasons = {os.fsencode(unescape(row["path"])): row["reason"] for row in csv.DictReader(file)}
    taken = (b"taken.tif", b"taken.tif.tif/z.png")
    assert set(reasons) == {*good, *long, *taken, no_utf8}
    assert [name for name in good if reasons[name]] == []
    assert all("File name too long" in reasons[name] for name in long), reasons
    assert reasons[no_utf8] == "its name is not UTF-8, and GDAL opens no others; rename it"
    failed = [reasons[name] for name in taken if reasons[name]]
    assert len(failed) == 1, "whichever was first has the name"
    assert any(words in failed[0] for words in ("Is a directory", "File exists", "Not a directory"))
    assert (summary.done, summary.failed) == (len(good) + 1, len(long) + 2)
    new = written(tmp_path / "out")
    assert not [name for name in new if b"partial" in name or name.startswith((b"x", b"y"))]


def test_a_key_never_leads_out(tmp_path: Path) -> None:
    """What a listing cannot give, a list of names at a URL, or of a cluster, could."""
    from dlcv.runtime.errors import UsageError
    from dlcv.runtime.tiles.tile_list import Tile

    for key in ("../x.png", "/etc/x.png", "a/../../x.png"):
        with pytest.raises(UsageError, match="not a file below the output folder"):
            check_names([Tile("x.png", key)])


def many(folder: Path, count: int) -> Path:
    """A flat folder of empty files."""
    folder.mkdir()
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        for number in range(count):
            os.close(
                os.open(f"{number:09}-of-a-flight-over-some-place.png", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor)
            )
    finally:
        os.close(descriptor)
    return folder


def check_listing(folder: Path, count: int, most_s: float) -> None:
    tracemalloc.start()
    start = time.process_time()
    tiles = find_tiles([str(folder)])
    seconds, (kept, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(tiles) == count
    assert all(a.key < b.key for a, b in pairwise(tiles))
    print(
        f"{count} files: {peak / count:.0f} bytes a tile, {kept / count:.0f} kept, {seconds:.2f} s of CPU with memory traced"
    )
    assert peak < LISTING_BYTES + TILE_BYTES * count
    assert kept < KEPT_BYTES * count
    assert seconds < most_s


def test_many_files_in_one_folder_are_listed_in_bounded_memory(tmp_path: Path) -> None:
    check_listing(many(tmp_path / "tiles", 40_000), 40_000, most_s=60)


@pytest.mark.long
@pytest.mark.parametrize("count", [200_000, 1_000_000])
def test_a_million_files(tmp_path: Path, count: int) -> None:
    check_listing(many(tmp_path / "tiles", count), count, most_s=300)
