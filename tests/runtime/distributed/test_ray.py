"""A run on two workers of a local Ray against the same run in this process, byte for byte."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from s3_server import Bucket

from dlcv.runtime.errors import DlcvError, UsageError
from dlcv.runtime.provenance import Trust
from dlcv.runtime.records.manifest import read_manifest
from dlcv.runtime.run.inference import InferSettings, Summary, infer
from dlcv.runtime.tiles.tile_list import Tile

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*"),  # Ray Data's own settings, read by itself
]

Image = NDArray[np.uint8]
WriteTile = Callable[[Path, Image], None]
ALIKE = (
    "tiles",
    "done",
    "failed",
    "resumed",
    "pixels",
    "images",
    "complete",
    "computes",
    "batch",
    "batches",
    "session",
)
"""Of `summary.json`: what does not speak of time."""


def _infer(engine: Path, sources: Path | str, output: Path, **options: Any) -> Summary:
    settings = InferSettings.of(
        engine=engine, sources=(str(sources),), output=output, quiet=True, session="onnxruntime", batch=1, **options
    )
    return infer(settings)


def _on_ray(engine: Path, sources: Path | str, output: Path, **options: Any) -> Summary:
    return _infer(engine, sources, output, ray="local", ray_workers=2, **options)


def _files(folder: Path) -> dict[str, bytes]:
    """All that a run wrote, apart from its tables, whose rows stand in any order, and what tells of time.

    The gallery's page, made from the manifest's rows in their order, is given as its sorted bytes.
    """
    return {
        path.relative_to(folder).as_posix(): bytes(sorted(path.read_bytes()))
        if path.suffix == ".html"
        else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("summary.json", ".dlcv-lock") and path.suffix != ".csv"
    }


def _tables(folder: Path) -> dict[str, list[str]]:
    return {path.name: sorted(path.read_text().splitlines()) for path in folder.rglob("*.csv")}


def _alike(folder: Path) -> dict[str, Any]:
    summary = json.loads((folder / "summary.json").read_text())
    return {name: summary[name] for name in ALIKE if name in summary}


@pytest.fixture
def tiles(tile_folder: Path, write_tile: WriteTile) -> Path:
    """The six, one of another size, names of any kind, and one that is no image."""
    write_tile(tile_folder / "wide.png", np.random.default_rng(0).integers(0, 256, (90, 150, 3), np.uint8))
    write_tile(tile_folder / "ä\nb,c.png", np.zeros((64, 64, 3), np.uint8))
    with open(os.fsencode(tile_folder) + b"/\xff.png", "wb") as file:
        file.write((tile_folder / "a.png").read_bytes())
    (tile_folder / "bad.png").write_bytes(b"no image")
    return tile_folder


@pytest.mark.parametrize(
    ("head", "options"),
    [
        ("mask", {}),
        (
            "probs",
            {"overlay": True, "confidence": True, "polygons": True, "areas": True, "gallery": True, "tta": "flips"},
        ),
    ],
    ids=["masks", "all outputs"],
)
def test_two_workers_write_what_one_process_writes(
    tiny_graph: Callable[[str], Path], tiles: Path, tmp_path: Path, head: str, options: dict[str, Any]
) -> None:
    here = _infer(tiny_graph(head), tiles, tmp_path / "here", **options)
    ray = _on_ray(tiny_graph(head), tiles, tmp_path / "ray", **options)
    assert (here.done, here.failed) == (9, 1)
    assert (ray.done, ray.failed, ray.by_class) == (here.done, here.failed, here.by_class)
    assert _files(tmp_path / "ray") == _files(tmp_path / "here")
    assert _tables(tmp_path / "ray") == _tables(tmp_path / "here")
    assert _alike(tmp_path / "ray") == _alike(tmp_path / "here")


def test_two_workers_predict_what_one_process_predicts(
    colour_engine: Path, colour_folder: Path, tmp_path: Path
) -> None:
    for name, run in (("here", _infer), ("ray", _on_ray)):
        assert run(colour_engine, colour_folder, tmp_path / name, top_k=2).done == 5
    assert _tables(tmp_path / "ray") == _tables(tmp_path / "here")
    assert _alike(tmp_path / "ray") == _alike(tmp_path / "here")


def test_resumed_here_what_was_begun_on_ray_and_the_other_way(tiny_onnx: Path, tiles: Path, tmp_path: Path) -> None:
    expected = _infer(tiny_onnx, tiles, tmp_path / "whole")
    for first, second in ((_on_ray, _infer), (_infer, _on_ray)):
        output = tmp_path / first.__name__
        assert first(tiny_onnx, tiles, output).done == 9
        (output / "sub/c.png.png").unlink()
        again = second(tiny_onnx, tiles, output, resume=True)
        assert (again.done, again.failed, again.resumed) == (9, 1, 8)
        assert _files(output) == _files(tmp_path / "whole")
        assert len(list(read_manifest(output / "manifest.csv"))) == expected.tiles


def test_a_tile_that_kills_its_worker_fails_alone(
    tiny_onnx: Path, tile_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A codec that crashes: the process is gone, and with it what it had in memory."""
    from dlcv.runtime.distributed import worker

    class Deadly(worker.BlockWorker):
        def _run(self, tiles: Sequence[Tile], report: worker.BlockReport) -> None:
            if any(tile.key == "sub/d.png" for tile in tiles):
                os._exit(11)
            super()._run(tiles, report)

    monkeypatch.setattr("dlcv.runtime.distributed.flow.BlockWorker", Deadly)
    summary = _on_ray(tiny_onnx, tile_folder, tmp_path / "masks")
    assert (summary.done, summary.failed) == (5, 1)
    failed = [row for row in read_manifest(tmp_path / "masks/manifest.csv") if row.status == "failed"]
    assert [(row.path, row.reason) for row in failed] == [
        ("sub/d.png", "it ended its worker without a word, 2 times while it was alone; look at it without --ray")
    ]


def test_urls_are_read_by_the_workers(tiny_onnx: Path, tiles: Path, tmp_path: Path) -> None:
    os.remove(os.fsencode(tiles) + b"/\xff.png")  # a URL has no such name
    _infer(tiny_onnx, tiles, tmp_path / "here")
    summary = _on_ray(tiny_onnx, tiles.as_uri(), tmp_path / "ray")
    assert (summary.done, summary.failed) == (8, 1)
    masks = {name: data for name, data in _files(tmp_path / "ray").items() if name.endswith(".png")}
    assert masks == {name: data for name, data in _files(tmp_path / "here").items() if name.endswith(".png")}
    assert _tables(tmp_path / "ray") == _tables(tmp_path / "here")


def test_objects_of_s3_are_read_by_the_workers(
    s3: dict[str, str], tiny_onnx: Path, tiles: Path, tmp_path: Path
) -> None:
    """Keys and endpoint from the workers' own environment."""
    if not s3:
        pytest.skip("s3fs or moto is not installed")
    for name in (b"\xff.png", "ä\nb,c.png".encode()):  # the one no URL has, the other moto does not take
        os.remove(os.fsencode(tiles) + b"/" + name)
    _infer(tiny_onnx, tiles, tmp_path / "here")
    summary = _on_ray(tiny_onnx, Bucket(s3["AWS_ENDPOINT_URL"], "ray").put_folder(tiles, "tiles"), tmp_path / "ray")
    assert (summary.done, summary.failed) == (7, 1)
    masks = {name: data for name, data in _files(tmp_path / "ray").items() if name.endswith(".png")}
    assert masks == {name: data for name, data in _files(tmp_path / "here").items() if name.endswith(".png")}


def test_what_a_worker_cannot_open_ends_the_run_in_words(
    tiny_onnx: Path, tile_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dlcv.runtime.distributed import worker

    class Elsewhere(worker.BlockWorker):
        """A worker on a machine with another file by the engine's name."""

        def __init__(self, order: worker.Order, attempts: Any) -> None:
            super().__init__(worker.replace(order, engine_sha256="0" * 64), attempts)

    monkeypatch.setattr("dlcv.runtime.distributed.flow.BlockWorker", Elsewhere)
    with pytest.raises(
        DlcvError, match=r"^on .*, process \d+: .*\.onnx is another file here; it must be on storage that all"
    ):
        _on_ray(tiny_onnx, tile_folder, tmp_path / "masks")
    assert list(read_manifest(tmp_path / "masks/manifest.csv")) == []
    with pytest.raises(DlcvError, match="SHA-256"):
        _on_ray(tiny_onnx, tile_folder, tmp_path / "trusted", trust=Trust.of("0" * 64))
    with pytest.raises(UsageError, match="--ray-workers 3: the Ray cluster has room for 2; ask for fewer"):
        _infer(tiny_onnx, tile_folder, tmp_path / "three", ray="local", ray_workers=3)
