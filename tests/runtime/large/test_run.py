"""`infer` on georeferenced images: one pipeline, one manifest, and what goes wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from dlcv.runtime import load
from dlcv.runtime.answers import probs_of
from dlcv.runtime.errors import OutputError, UsageError
from dlcv.runtime.fitting.fitting import fit_to_card
from dlcv.runtime.large.run import ImageRun
from dlcv.runtime.masks import read_mask
from dlcv.runtime.outputs.beside import (
    CONFIDENCE,
    CONFIDENCE_TIF,
    MASK_THUMBNAIL,
    OVERLAY_JPG,
    OVERLAY_TIF,
    POLYGONS,
    THUMBNAIL,
    beside,
)
from dlcv.runtime.raster import cog
from dlcv.runtime.records.manifest import DONE, FAILED, Row, read_manifest
from dlcv.runtime.run.inference import InferSettings, Summary, infer
from dlcv.runtime.sessions import open_session

WriteGeo = Callable[..., Path]
Image = NDArray[np.uint8]
SAME = 0.999
"""Of pixels: sums of 1/60000 decide other ties than float32's."""


@pytest.fixture
def run(tiny_graph: Callable[[str], Path], tmp_path: Path) -> Callable[..., Summary]:
    def run(*sources: Path, **settings: Any) -> Summary:
        given = {"engine": tiny_graph("probs"), "output": tmp_path / "out", "device": "cpu", "quiet": True, **settings}
        say = given.pop("say", lambda _: None)
        return infer(InferSettings.of(sources=tuple(map(str, sources)), **given), say=say)

    return run


@pytest.fixture(scope="session")
def scene(tiny_scenes: list[Image]) -> Image:
    """uint8 (192, 128, 3): the six scenes in one picture."""
    return np.vstack([np.hstack(tiny_scenes[k : k + 2]) for k in range(0, 6, 2)])


def blended(engine: Path, image: Image, **options: Any) -> Image:
    """What the engine says, in memory."""
    with open_session(engine, device="cpu") as session:
        fitted = fit_to_card(image, session.card, **options)
        probs = probs_of(session.run(np.stack(fitted.windows)))
    return fitted.join(list(probs)).argmax(0).astype(np.uint8)


def mask_of(path: Path) -> Image:
    with rasterio.open(path) as file:
        return np.asarray(file.read(1))


def rows(folder: Path) -> list[Row]:
    return sorted(read_manifest(folder / "manifest.csv"), key=lambda row: row.path)


@pytest.mark.parametrize("batch", [1, 5])
def test_large_images_and_tiles_in_one_run(
    run: Callable[..., Summary], tmp_path: Path, write_geo: WriteGeo, scene: Image, tile_folder: Path,
    tiny_graph: Callable[[str], Path], batch: int,
) -> None:  # fmt: skip
    folder = tmp_path / "in"
    images = {"large.tif": scene, "odd.tif": scene[:70, :101], "small.tif": scene[:20, :30], "dot.tif": scene[:1, :1]}
    for name, image in images.items():
        write_geo(folder / name, image)
    summary = run(folder, tile_folder, batch=batch)
    out = tmp_path / "out"
    assert (summary.tiles, summary.done, summary.failed) == (10, 10, 0)
    assert {row.path: row.output for row in rows(out) if row.path in images} == {n: f"{n}.tif" for n in images}
    for name, image in images.items():
        mask = mask_of(out / f"{name}.tif")
        assert mask.shape == image.shape[:2]
        assert np.mean(mask == blended(tiny_graph("probs"), image)) >= SAME
    with rasterio.open(out / "large.tif.tif") as file, rasterio.open(folder / "large.tif") as like:
        assert (file.crs, file.transform) == (like.crs, like.transform)
    windows = [len(fit_to_card(i, load(tiny_graph("probs"), device="cpu").card).windows) for i in images.values()]
    facts = json.loads((out / "summary.json").read_text())
    assert facts["batches"] == -(-(sum(windows) + 6) // batch), "batches are filled across images"
    assert sum(summary.by_class.values()) == sum(i.shape[0] * i.shape[1] for i in images.values()) + 6 * 64 * 64
    assert not [path for path in out.rglob("*") if "partial" in path.name]


def test_a_mask_graph_keeps_the_centre_and_names_the_head(
    run: Callable[..., Summary], tmp_path: Path, write_geo: WriteGeo, scene: Image, tiny_onnx: Path
) -> None:
    said: list[str] = []
    run(write_geo(tmp_path / "a.tif", scene), engine=tiny_onnx, say=said.append)
    with load(tiny_onnx, device="cpu") as model:
        np.testing.assert_array_equal(mask_of(tmp_path / "out" / "a.tif.tif"), model(scene))
    assert said == [
        "windows of large images are cut, not blended: the engine returns masks; export it with --head probs to blend"
    ]


@pytest.mark.parametrize(("option", "words"), [({"tta": "flips"}, "--tta flips"), ({"blend": True}, "--blend")])
def test_what_needs_probabilities_refuses_a_mask_graph(
    run: Callable[..., Summary], tile_folder: Path, tiny_onnx: Path, option: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError) as caught:
        run(tile_folder, engine=tiny_onnx, **option)
    expected = f"{words}: needs probabilities, and {tiny_onnx} returns masks; export it with --head probs"
    assert str(caught.value) == expected


def test_plain_tiles_are_blended_and_turned_too(
    run: Callable[..., Summary], tmp_path: Path, scene: Image, write_tile: Callable[[Path, Image], None],
    tiny_graph: Callable[[str], Path],
) -> None:  # fmt: skip
    write_tile(tmp_path / "in" / "a.png", scene)
    engine = tiny_graph("probs")
    for name, options in {
        "blend": {}, "cut": {"blend": False}, "flips": {"tta": "flips"}, "full": {"tta": "full", "overlap": 0.5},
    }.items():  # fmt: skip
        run(tmp_path / "in", output=tmp_path / name, **options)
        found = read_mask(tmp_path / name / "a.png.png")
        assert np.mean(found == blended(engine, scene, **options)) >= SAME, name
    masks = [read_mask(tmp_path / name / "a.png.png") for name in ("blend", "cut", "flips", "full")]
    assert len({mask.tobytes() for mask in masks}) == 4


def test_large_images_are_turned_too(
    run: Callable[..., Summary], tmp_path: Path, scene: Image, write_geo: WriteGeo, tiny_graph: Callable[[str], Path]
) -> None:
    run(write_geo(tmp_path / "a.tif", scene), tta="full")
    assert np.mean(mask_of(tmp_path / "out" / "a.tif.tif") == blended(tiny_graph("probs"), scene, tta="full")) >= SAME


def test_pixels_without_data_are_255_and_empty_windows_cost_nothing(
    run: Callable[..., Summary], tmp_path: Path, scene: Image, write_geo: WriteGeo, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.maximum(scene, 1)
    image[:100] = 0
    ended, end = [], ImageRun.end

    def noted(self: ImageRun, *how: Any) -> Any:
        ended.append(threading.current_thread().name)
        return end(self, *how)

    monkeypatch.setattr(ImageRun, "end", noted)
    tiles = write_geo(tmp_path / "a.tif", image, nodata=0), write_geo(tmp_path / "empty.tif", image * 0, nodata=0)
    summary = run(*tiles, batch=1)
    assert ended == ["dlcv-write"] * 2, "it may take minutes, and the main thread looks for what hangs"
    mask = mask_of(tmp_path / "out" / "a.tif.tif")
    assert (mask[:100] == 255).all()
    assert (mask[100:] < 7).all()
    assert (mask_of(tmp_path / "out" / "empty.tif.tif") == 255).all()
    assert sum(summary.by_class.values()) == 92 * 128, "pixels without data are of no class"
    batches = json.loads((tmp_path / "out" / "summary.json").read_text())["batches"]
    assert batches == 3 * 3, "windows at 0, 48, 96, 128 by 0, 48, 64: those of the first row hold no data"


def test_one_that_cannot_be_read_fails_and_the_others_go_on(
    run: Callable[..., Summary], tmp_path: Path, scene: Image, write_geo: WriteGeo
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    good = write_geo(tmp_path / "in" / "good.tif", scene)
    bad = write_geo(tmp_path / "in" / "bad.tif", noise, compress="deflate", tiled=True, blockxsize=16, blockysize=16)
    data = bytearray(bad.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 5000] = bytes(5000)
    bad.write_bytes(data)
    write_geo(tmp_path / "in" / "deep.tif", scene.astype(np.uint16))
    summary = run(tmp_path / "in")
    out = tmp_path / "out"
    assert (summary.done, summary.failed) == (1, 2)
    reasons = {row.path: row.reason for row in rows(out) if row.status == FAILED}
    assert "cannot be read" in reasons["bad.tif"]
    assert reasons["deep.tif"].startswith("16-bit values, expected 8-bit; give --scale-16bit")
    assert sorted(path.name for path in out.iterdir() if path.suffix == ".tif") == ["good.tif.tif"]
    assert not [path for path in out.rglob("*") if "partial" in path.name]
    assert good.exists()


def test_what_dies_half_way_is_redone(
    run: Callable[..., Summary], tmp_path: Path, scene: Image, write_geo: WriteGeo, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.tif", "b.tif", "c.tif"):
        write_geo(tmp_path / "in" / name, scene)
    real, calls = cog.CogMask.finish, []

    def second_fails(self: cog.CogMask) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise OutputError("no space left")
        real(self)

    monkeypatch.setattr(cog.CogMask, "finish", second_fails)
    with pytest.raises(OutputError, match="no space left"):
        run(tmp_path / "in", decoders=1, writers=1)
    out = tmp_path / "out"
    assert [row.status for row in rows(out)] == [DONE]
    (out / ".b.tif.tif.strips.1.partial").write_bytes(b"what a killed process leaves")
    (out / ".b.tif.tif.1.partial.ovr.tmp").write_bytes(b"and GDAL's own")
    summary = run(tmp_path / "in", resume=True)
    assert (summary.done, summary.resumed) == (3, 1)
    assert [row.status for row in rows(out)] == [DONE] * 3
    assert not [path for path in out.rglob("*") if "partial" in path.name]


def test_runs_of_the_same_image_give_the_same_bytes(
    run: Callable[..., Summary], tmp_path: Path, scene: Image, write_geo: WriteGeo
) -> None:
    path = write_geo(tmp_path / "a.tif", np.tile(scene, (3, 3, 1)))
    for name, threads in (("one", 1), ("four", 4)):
        run(path, output=tmp_path / name, decoders=threads, writers=threads)
    assert (tmp_path / "one" / "a.tif.tif").read_bytes() == (tmp_path / "four" / "a.tif.tif").read_bytes()


def test_other_fits_are_refused(run: Callable[..., Summary], tmp_path: Path, scene: Image, write_geo: WriteGeo) -> None:
    run(write_geo(tmp_path / "a.tif", scene), fit="resize")
    assert rows(tmp_path / "out")[0].reason == (
        "georeferenced and very large images are run in windows; leave out --fit resize"
    )


def test_bands_of_plain_tiffs(run: Callable[..., Summary], tmp_path: Path, scene: Image, write_geo: WriteGeo) -> None:
    turned = write_geo(tmp_path / "bgr.tif", scene[..., ::-1], crs=None, transform=None)
    run(turned, bands=(3, 2, 1))
    run(write_geo(tmp_path / "rgb.tif", scene), output=tmp_path / "rgb")
    np.testing.assert_array_equal(mask_of(tmp_path / "out" / "bgr.tif.tif"), mask_of(tmp_path / "rgb" / "rgb.tif.tif"))


def test_areas_in_square_metres(run: Callable[..., Summary], tmp_path: Path, scene: Image, write_geo: WriteGeo) -> None:
    image = np.maximum(scene, 1)
    image[:100] = 0
    run(write_geo(tmp_path / "a.tif", image, nodata=0), areas=True)
    lines = [line.split(",") for line in (tmp_path / "out" / "areas.csv").read_text().splitlines()[1:]]
    assert sum(int(line[2]) for line in lines) == 92 * 128
    assert sum(float(line[3]) for line in lines) == pytest.approx(1, abs=1e-5)
    for line in lines:
        assert float(line[4]) == int(line[2]) * 0.25  # half a metre by half a metre
    assert run(tmp_path / "a.tif", areas=True, resume=True).resumed == 1


def test_tiles_beside_large_images_have_their_extras(
    run: Callable[..., Summary], tmp_path: Path, scene: Image, write_geo: WriteGeo, tile_folder: Path
) -> None:
    write_geo(tile_folder / "geo.tif", scene)
    write_geo(tile_folder / "damaged.tif", scene)
    whole = (tile_folder / "damaged.tif").read_bytes()
    (tile_folder / "damaged.tif").write_bytes(whole[: len(whole) // 2])
    extras = dict.fromkeys(("overlay", "confidence", "polygons", "areas", "gallery"), True)
    summary = run(tile_folder, **extras)
    out = tmp_path / "out"
    assert (summary.tiles, summary.done, summary.failed) == (8, 7, 1)
    done = [row.path for row in rows(out) if row.status == DONE]
    for of_tiles, of_large in (
        (OVERLAY_JPG, OVERLAY_TIF), (CONFIDENCE, CONFIDENCE_TIF), (POLYGONS, POLYGONS), (THUMBNAIL, THUMBNAIL),
        (MASK_THUMBNAIL, MASK_THUMBNAIL),
    ):  # fmt: skip
        assert all((out / beside(of_large if key == "geo.tif" else of_tiles, key)).exists() for key in done)
    for name in ("areas.csv", "confidence.csv", "gallery/tiles.csv"):
        assert {line.split(",")[0] for line in (out / name).read_text().splitlines()[1:]} == set(done), name
    page = (out / "gallery/index.html").read_text()
    assert "geo.tif" in page
    assert "damaged.tif" in page, "what failed is told there, too"
    assert run(tile_folder, **extras, resume=True).resumed == 7
    (tile_folder / "damaged.tif").unlink()
    (out / beside(OVERLAY_JPG, "b.png")).unlink()
    assert run(tile_folder, **extras, resume=True).resumed == 6
    run(tile_folder, **extras, overwrite=True)
    assert not [path for path in out.rglob("*") if "partial" in path.name]
