"""Overlay, confidence, polygons, areas and the gallery of georeferenced images: as those of the same image as a plain tile."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from PIL import Image as Picture
from rasterio.warp import transform_geom

from dlcv.runtime import progress
from dlcv.runtime.errors import OutputError, TileError
from dlcv.runtime.masks import read_mask
from dlcv.runtime.outputs import with_extras
from dlcv.runtime.outputs.base import Counted
from dlcv.runtime.outputs.beside import CONFIDENCE_TIF, MASK_THUMBNAIL, OVERLAY_TIF, POLYGONS, THUMBNAIL, beside
from dlcv.runtime.outputs.polygons import files as polygon_files
from dlcv.runtime.outputs.polygons.files import Polygons
from dlcv.runtime.raster import scene as scene_module
from dlcv.runtime.raster.scene import Scene
from dlcv.runtime.records.manifest import FAILED, read_manifest
from dlcv.runtime.run.inference import InferSettings, Summary, infer
from dlcv.runtime.tiles.tile_list import Tile

WriteGeo = Callable[..., Path]
Image = NDArray[np.uint8]
Run = Callable[..., Summary]
ALL: dict[str, Any] = dict.fromkeys(("overlay", "confidence", "polygons", "areas", "gallery"), True)
# what overlaps would blend differs by ties between the two paths; what is cut does not
EXACT: dict[str, Any] = {**ALL, "blend": False, "overlay_format": "png"}
KINDS = (OVERLAY_TIF, CONFIDENCE_TIF, POLYGONS, THUMBNAIL, MASK_THUMBNAIL)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def run(tiny_graph: Callable[[str], Path], out: Path) -> Run:
    def run(*sources: Path, **settings: Any) -> Summary:
        given = {"engine": tiny_graph("probs"), "output": out, "device": "cpu", "quiet": True, **settings}
        return infer(InferSettings.of(sources=tuple(map(str, sources)), **given))

    return run


@pytest.fixture(scope="session")
def scene(tiny_scenes: list[Image]) -> Image:
    """uint8 (192, 128, 3): the six scenes in one picture, without black."""
    return np.maximum(np.vstack([np.hstack(tiny_scenes[k : k + 2]) for k in range(0, 6, 2)]), 1)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many strips and columns in a small image."""
    monkeypatch.setattr(scene_module, "ROWS", 64)
    monkeypatch.setattr(scene_module, "COLUMNS", 50)
    monkeypatch.setattr(polygon_files, "STRIP_PIXELS", 40 * 128)


def table(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def features(out: Path, key: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((out / beside(POLYGONS, key)).read_text())["features"]
    return found


def leftovers(out: Path) -> list[str]:
    return [path.name for path in out.rglob("*") if "partial" in path.name]


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("cores", [1, 2])
def test_what_is_being_written_after_the_last_window_is_told(
    cores: int, run: Run, tmp_path: Path, scene: Image, write_geo: WriteGeo, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """On one core each after the other, on two at the same time, and each is told."""
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    monkeypatch.setattr(with_extras, "cpu_count", lambda: cores)
    assert run(write_geo(tmp_path / "in" / "a.tif", scene), **{**ALL, "gallery": False}, quiet=False).failed == 0
    lines = [line.removeprefix("tiles: 0 of 1, a.tif: ") for line in capsys.readouterr().err.splitlines()]
    told = [line.removeprefix("writing ") for line in lines if line.startswith("writing")]
    each = [
        "masks, with overviews",
        "overlays", "overlays, 33 %", "overlays, 66 %", "overlays, 100 %", "overlays, with overviews",
        "confidence",
        "polygons", *(f"polygons, {percent} %" for percent in (20, 41, 62, 83, 100)),
    ]  # fmt: skip
    if cores == 1:
        assert told == each
    else:
        assert {text for line in told for text in line.split("; ")} == set(each)
        assert any("; " in line for line in told), "at the same time"


@pytest.mark.parametrize("cores", [1, 2])
def test_where_one_extra_fails_none_is_left(
    cores: int, run: Run, tmp_path: Path, out: Path, scene: Image, write_geo: WriteGeo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those either that another thread had begun."""

    def fails(self: Polygons, tile: Tile, counted: Counted) -> str:
        raise TileError("no polygons today")

    monkeypatch.setattr(with_extras, "cpu_count", lambda: cores)
    monkeypatch.setattr(Polygons, "write_large", fails)
    assert run(write_geo(tmp_path / "in" / "a.tif", scene), **ALL).failed == 1
    assert [row.reason for row in read_manifest(out / "manifest.csv")] == ["no polygons today"]
    assert not list(out.rglob("a.tif*"))
    assert not leftovers(out)


@pytest.mark.usefixtures("small_parts")
def test_as_the_same_image_as_a_plain_tile(
    run: Run, tmp_path: Path, out: Path, scene: Image, write_geo: WriteGeo, write_tile: Callable[[Path, Image], None]
) -> None:
    geo = write_geo(tmp_path / "in" / "a.tif", scene)
    write_tile(tmp_path / "in" / "b.png", scene)
    assert run(tmp_path / "in", **EXACT).failed == 0
    mask = read_mask(out / "b.png.png")
    with rasterio.open(geo) as like, rasterio.open(out / "a.tif.tif") as file:
        crs, transform = like.crs, like.transform
        np.testing.assert_array_equal(file.read(1), mask)
    with rasterio.open(out / "overlays/a.tif.tif") as file, Picture.open(out / "overlays/b.png.png") as picture:
        np.testing.assert_array_equal(file.read().transpose(1, 2, 0), np.asarray(picture))
        assert (file.crs, file.transform, file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"]) == (crs, transform, "COG")
    with rasterio.open(out / "confidence/a.tif.tif") as file, Picture.open(out / "confidence/b.png.png") as picture:
        levels = file.read(1)
        # rounded to 1/60000, then to 1/255: a level off where the first crosses a half of the second
        assert np.abs(levels.astype(int) - np.asarray(picture)).max() <= 1
        assert np.mean(levels == np.asarray(picture)) > 0.99
        assert (file.crs, file.transform, file.nodata) == (crs, transform, 0)
        assert file.scales == (pytest.approx(1 / 255),), "a viewer shows probabilities"
    mean_a, mean_b = (
        {k: float(v) for k, v in row.items() if k != "path"} for row in _by_path(table(out / "confidence.csv"))
    )
    assert mean_a == pytest.approx(mean_b, abs=2e-4)  # of four digits
    pixels = [
        {row["class"]: row["pixels"] for row in table(out / "areas.csv") if row["path"] == k}
        for k in ("a.tif", "b.png")
    ]
    assert pixels[0] == pixels[1]
    shown_a, shown_b = _by_path(table(out / "gallery/tiles.csv"))
    assert {k: v for k, v in shown_a.items() if k not in ("path", "confidence")} == {
        k: v for k, v in shown_b.items() if k not in ("path", "confidence")
    }
    _same_polygons(features(out, "a.tif"), features(out, "b.png"), crs, transform)


def _by_path(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return sorted(rows, key=lambda row: row["path"])


def _same_polygons(on_earth: list[dict[str, Any]], in_pixels: list[dict[str, Any]], crs: Any, transform: Any) -> None:
    """In any order: the same shapes, where GDAL puts them, with what is said of them."""
    shapely = pytest.importorskip("shapely")
    rings = [f["geometry"]["coordinates"] for f in in_pixels]
    mapped = [[[transform @ tuple(point) for point in ring] for ring in shape] for shape in rings]
    moved = transform_geom(crs, "EPSG:4326", {"type": "MultiPolygon", "coordinates": mapped})["coordinates"]
    shapes = [shapely.geometry.shape(f["geometry"]) for f in on_earth]
    tree = shapely.STRtree(shapes)
    found = set()
    for one, coordinates in zip(in_pixels, moved, strict=True):
        expected = shapely.Polygon(coordinates[0], coordinates[1:])
        (number,) = tree.query(expected.representative_point(), predicate="within").tolist()
        found.add(number)
        shape, said = shapes[number], on_earth[number]["properties"]
        assert shape.is_valid
        assert shape.exterior.is_ccw
        # coordinates are rounded to 9 digits
        assert shape.symmetric_difference(expected).area <= 2e-9 * expected.length
        assert len(shape.interiors) == len(expected.interiors)
        assert (said["class"], said["pixels"]) == (one["properties"]["class"], one["properties"]["pixels"])
        assert said["confidence"] == pytest.approx(one["properties"]["confidence"], abs=1 / 255)
        assert said["square_metres"] == one["properties"]["pixels"] * 0.25
    assert len(found) == len(on_earth) == len(in_pixels)


@pytest.mark.usefixtures("small_parts")
def test_areas_agree_with_the_polygons(run: Run, tmp_path: Path, out: Path, scene: Image, write_geo: WriteGeo) -> None:
    shapely = pytest.importorskip("shapely")
    run(write_geo(tmp_path / "a.tif", scene), **ALL)
    sums: dict[str, float] = {}
    drawn: dict[str, float] = {}
    for feature in features(out, "a.tif"):
        name = feature["properties"]["class"]
        sums[name] = sums.get(name, 0) + feature["properties"]["square_metres"]
        utm = transform_geom("EPSG:4326", "EPSG:32640", feature["geometry"])
        drawn[name] = drawn.get(name, 0) + shapely.geometry.shape(utm).area
    areas = {row["class"]: float(row["square_metres"]) for row in table(out / "areas.csv")}
    assert sums == areas
    assert drawn == pytest.approx(areas, rel=1e-4)  # coordinates of a tenth of a millimetre


@pytest.mark.usefixtures("small_parts")
def test_pixels_without_data_have_none_of_it(
    run: Run, tmp_path: Path, out: Path, scene: Image, write_geo: WriteGeo
) -> None:
    image = scene.copy()
    image[:100, 20:] = 0
    run(write_geo(tmp_path / "a.tif", image, nodata=0), write_geo(tmp_path / "empty.tif", image * 0, nodata=0), **EXACT)
    hole = (image == 0).all(-1)
    with rasterio.open(out / "overlays/a.tif.tif") as file:
        np.testing.assert_array_equal(file.dataset_mask() == 0, hole)
        assert (file.read()[:, hole] == 0).all(), "not drawn over"
    with rasterio.open(out / "confidence/a.tif.tif") as file:
        np.testing.assert_array_equal(file.read(1) == 0, hole)
    assert sum(f["properties"]["pixels"] for f in features(out, "a.tif")) == np.count_nonzero(~hole)
    assert features(out, "empty.tif") == []
    rows = {row["path"]: row for row in table(out / "confidence.csv")}
    with rasterio.open(out / "confidence/a.tif.tif") as file:
        assert float(rows["a.tif"]["mean"]) == pytest.approx(file.read(1)[~hole].mean() / 255, abs=1 / 255)
    assert not leftovers(out)
    counted = [row for row in table(out / "areas.csv") if row["path"] == "empty.tif"]
    assert [(row["class"], row["pixels"]) for row in counted] == [("", "0")], "that tells that it is done"
    assert run(tmp_path / "a.tif", tmp_path / "empty.tif", resume=True, **EXACT).resumed == 2


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("crs", ["EPSG:32660", "EPSG:4326"])
def test_polygons_are_cut_at_the_antimeridian(
    run: Run, tmp_path: Path, out: Path, scene: Image, write_geo: WriteGeo, crs: str
) -> None:
    shapely = pytest.importorskip("shapely")
    projected = Affine(
        100, 0, 828_000, 0, -100, 100_000
    )  # near 180 degrees in zone 60, where no column follows the meridian
    degrees = Affine(0.001, 0, 179.9405, 0, -0.001, 1)
    geo = write_geo(tmp_path / "a.tif", scene, crs=crs, transform=projected if crs == "EPSG:32660" else degrees)
    assert run(geo, polygons=True, blend=False).failed == 0
    assert "note" not in json.loads((out / beside(POLYGONS, "a.tif")).read_text())
    found = [(f["properties"]["pixels"], shapely.geometry.shape(f["geometry"])) for f in features(out, "a.tif")]
    assert all(shape.is_valid for _, shape in found)
    cut = [shape for _, shape in found if shape.geom_type == "MultiPolygon"]
    assert cut and all(shape.bounds[0] >= -180 and shape.bounds[2] <= 180 for _, shape in found)
    assert all({one.bounds[0] == -180 or one.bounds[2] == 180 for one in shape.geoms} == {True} for shape in cut)
    assert any(shape.bounds[2] < 0 for _, shape in found) and any(shape.bounds[0] > 0 for _, shape in found)
    whole = shapely.union_all([shape for _, shape in found])
    assert sum(shape.area for _, shape in found) == pytest.approx(whole.area, rel=1e-6), "none lies on another"
    by_pixels = np.array([shape.area / pixels for pixels, shape in found])
    np.testing.assert_allclose(by_pixels, by_pixels.mean(), rtol=2e-3)


def test_what_was_deleted_is_made_again_and_overwrite_takes_all(
    run: Run, tmp_path: Path, out: Path, scene: Image, write_geo: WriteGeo
) -> None:
    write_geo(tmp_path / "in" / "a.tif", scene)
    write_geo(tmp_path / "in" / "b.tif", scene[:100])
    run(tmp_path / "in", **ALL)
    assert run(tmp_path / "in", **ALL, resume=True).resumed == 2
    for kind in KINDS:
        before = (out / beside(kind, "a.tif")).read_bytes()
        (out / beside(kind, "a.tif")).unlink()
        assert run(tmp_path / "in", **ALL, resume=True).resumed == 1, kind
        assert (out / beside(kind, "a.tif")).read_bytes() == before, kind
    page = (out / "gallery/index.html").read_text()
    assert '"picture": "../overlays/a.tif.tif"' in page
    run(tmp_path / "in", overwrite=True)
    assert not [kind for kind in KINDS if (out / beside(kind, "a.tif")).exists()]


def test_an_extra_that_fails_leaves_nothing_of_its_image(
    run: Run, tmp_path: Path, out: Path, scene: Image, write_geo: WriteGeo
) -> None:
    write_geo(tmp_path / "in" / "sub" / "a.tif", scene)
    write_geo(tmp_path / "in" / "b.tif", scene)
    (out / "polygons").mkdir(parents=True)
    (out / "polygons/sub").write_text("in the way")
    summary = run(tmp_path / "in", **ALL)
    assert (summary.done, summary.failed) == (1, 1)
    assert [row.path for row in read_manifest(out / "manifest.csv") if row.status == FAILED] == ["sub/a.tif"]
    assert not list(out.rglob("a.tif*"))
    assert not leftovers(out)


@pytest.mark.parametrize("stage", ["write_overlay", "preview"])
def test_a_run_that_dies_in_an_extra_is_redone(
    run: Run, tmp_path: Path, out: Path, scene: Image, write_geo: WriteGeo, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    write_geo(tmp_path / "in" / "a.tif", scene)

    def full(*_: Any, **__: Any) -> None:
        raise OutputError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(Scene, stage, full)
        with pytest.raises(OutputError, match="no space left"):
            run(tmp_path / "in", **ALL)
    assert list(read_manifest(out / "manifest.csv")) == []
    assert not (out / "a.tif.tif").exists()
    assert not leftovers(out)
    for name in (
        "overlays/.a.tif.tif.strips.1.partial",
        "confidence/.a.tif.tif.1.partial",
        ".a.tif.tif.confidence.1.partial",
    ):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_bytes(b"what a killed process leaves")
    assert run(tmp_path / "in", **ALL, resume=True).done == 1
    assert not leftovers(out)
    assert all((out / beside(kind, "a.tif")).exists() for kind in KINDS)


def test_masks_alone_have_all_but_confidence(
    run: Run, tmp_path: Path, out: Path, scene: Image, write_geo: WriteGeo, tiny_onnx: Path
) -> None:
    options = {**ALL, "confidence": None}
    run(write_geo(tmp_path / "a.tif", scene), **options, engine=tiny_onnx)
    assert "confidence" not in features(out, "a.tif")[0]["properties"]
    assert table(out / "gallery/tiles.csv")[0]["confidence"] == ""


def test_the_jpeg_overlay_looks_like_the_lossless_one(
    run: Run, tmp_path: Path, out: Path, scene: Image, write_geo: WriteGeo
) -> None:
    for name in ("jpg", "png"):
        run(write_geo(tmp_path / "a.tif", scene), overlay=True, overlay_format=name, output=tmp_path / name)
    read = []
    for name in ("jpg", "png"):
        with rasterio.open(tmp_path / name / "overlays/a.tif.tif") as file:
            read.append(file.read().astype(int))
            assert file.compression.name == {"jpg": "jpeg", "png": "deflate"}[name]
    # JPEG halves the colours' resolution, and borders are a pixel wide: the brightness alone is near
    brightness = [np.tensordot([0.299, 0.587, 0.114], picture, 1) for picture in read]
    assert np.abs(brightness[0] - brightness[1]).mean() < 8


def test_a_preview_is_the_image_scaled_down(tmp_path: Path, write_geo: WriteGeo) -> None:
    blocks = np.random.default_rng(0).integers(1, 255, (13, 11, 3), dtype=np.uint8)
    image = np.repeat(np.repeat(blocks, 40, 0), 40, 1)[:517, :428]
    path = write_geo(tmp_path / "a.tif", image)
    mask_path = write_geo(tmp_path / "m.tif", image[..., 0])
    picture, mask = Scene(path, mask_path, (517, 428), None).preview(130)  # a fourth
    assert picture.shape == (130, 107, 3)
    np.testing.assert_array_equal(picture[:129], image[2::4, 2::4][:129])
    np.testing.assert_array_equal(mask[:129], image[2::4, 2::4, 0][:129])
