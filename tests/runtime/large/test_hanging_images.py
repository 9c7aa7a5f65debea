"""A large image whose storage hangs fails after `--tile-timeout`, and the others go on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlcv.runtime.pipeline import hanging
from dlcv.runtime.raster import source
from dlcv.runtime.raster.bands import Bands
from dlcv.runtime.records.manifest import FAILED, Row, read_manifest
from dlcv.runtime.run.inference import InferSettings, Summary, infer
from dlcv.runtime.tiles.tile_list import Tile

WriteGeo = Callable[..., Path]
LIMIT_S = 3.0
"""No tile that does not hang takes so long, whatever else the machine has to do."""
REASON = f"reading it took longer than {LIMIT_S:g} s; look at its storage, or pass --tile-timeout"


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """Is set when the test is over, so that no thread is left."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def folder(tmp_path: Path, write_geo: WriteGeo, tiny_scenes: list[Any], tile_folder: Path) -> Path:
    """Six tiles, and GeoTIFFs `hangs.tif` and `other.tif`."""
    scene = np.vstack([np.hstack(tiny_scenes[k : k + 2]) for k in range(0, 6, 2)])
    for name in ("hangs.tif", "other.tif"):
        write_geo(tile_folder / name, scene)
    return tile_folder


def run(engine: Path, folder: Path, output: Path, **settings: Any) -> Summary:
    """`infer` in a thread of its own: when it never comes back, the test fails, and does not hang itself."""
    given = {"engine": engine, "output": output, "device": "cpu", "quiet": True, "tile_timeout_s": LIMIT_S, **settings}
    found: list[Summary | BaseException] = []

    def body() -> None:
        try:
            found.append(infer(InferSettings.of(sources=(str(folder),), **given)))
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    thread.join(45)
    assert found, "the run hangs with the image"
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


def rows(output: Path) -> dict[str, Row]:
    return {row.path: row for row in read_manifest(output / "manifest.csv")}


@pytest.mark.parametrize("decoders", [1, 4])
def test_one_whose_reading_hangs_fails_alone(
    tiny_onnx: Path,
    folder: Path,
    tmp_path: Path,
    never: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
    decoders: int,
) -> None:
    real, closed_late = Bands.read, threading.Event()

    def read(self: Bands, dataset: Any, window: Any, *others: Any) -> Any:
        if dataset.name.endswith("hangs.tif") and window.row_off:  # the first strip came
            never.wait(90)
            assert not dataset.closed, "it is not closed under the hands of its reader"
            closed_late.set()
        return real(self, dataset, window, *others)

    monkeypatch.setattr(Bands, "read", read)
    monkeypatch.setattr("dlcv.runtime.raster.source.STRIP_ROWS", 64)
    monkeypatch.setattr(hanging, "MOST_HUNG", 1)  # threads that wait for one image are one tile that hangs
    summary = run(tiny_onnx, folder, tmp_path / "out", decoders=decoders)
    assert (summary.done, summary.failed) == (7, 1)
    assert rows(tmp_path / "out")["hangs.tif"] == Row(
        "hangs.tif", FAILED, reason=REASON, tile=rows(tmp_path / "out")["hangs.tif"].tile
    )
    assert not [path for path in (tmp_path / "out").rglob("*") if "hangs.tif" in path.name], "nothing of it is left"
    never.set()
    assert closed_late.wait(60)


def test_those_that_hang_when_they_are_opened_hold_up_nobody(
    tiny_onnx: Path, folder: Path, tmp_path: Path, write_geo: WriteGeo, never: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (folder / "asked.tif").write_bytes((folder / "other.tif").read_bytes())
    opened, fingerprint = source._opened, Tile.fingerprint

    def slow_open(path: Path) -> Any:
        if path.name == "hangs.tif":
            never.wait(90)
        return opened(path)

    def slow_fingerprint(self: Tile) -> Any:
        if self.key == "asked.tif":
            never.wait(90)
        return fingerprint(self)

    monkeypatch.setattr(source, "_opened", slow_open)
    monkeypatch.setattr(Tile, "fingerprint", slow_fingerprint)
    summary = run(tiny_onnx, folder, tmp_path / "out", decoders=2)
    assert (summary.done, summary.failed) == (7, 2)
    found = rows(tmp_path / "out")
    assert {key: row.reason for key, row in found.items() if row.status == FAILED} == {
        "hangs.tif": REASON, "asked.tif": REASON,
    }  # fmt: skip
    assert found["other.tif"].tile == fingerprint(Tile(folder / "other.tif", "other.tif")), "resume compares it"
    never.set()
    for thread in threading.enumerate():
        if thread.name == "dlcv-decode":
            thread.join(60)
    left = [path.name for path in (tmp_path / "out").rglob("*") if path.name.lstrip(".").startswith(("hangs", "asked"))]
    assert left == [], "one that comes back late takes away what it began"
