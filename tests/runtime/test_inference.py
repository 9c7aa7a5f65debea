"""A folder of tiles through an engine: masks, manifest, summary; and every tile that cannot be run."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PillowImage

from dlcv.runtime import inference, load
from dlcv.runtime.card import ModelCard
from dlcv.runtime.decode import DecodeOptions
from dlcv.runtime.errors import EngineError, OutputError, UsageError
from dlcv.runtime.inference import InferSettings, Summary, infer
from dlcv.runtime.manifest import DONE, FAILED, Row, read_manifest
from dlcv.runtime.outputs.masks import read_mask
from dlcv.runtime.run_folder import RunFolder
from dlcv.runtime.tiles import Fingerprint, Tile

Image = NDArray[np.uint8]
WriteTile = Callable[[Path, Image], None]
SAME = 0.9999
"""Of pixels: float32 sums in another order may decide ties otherwise."""
KEYS = ["a.png", "b.png", "sub/c.png", "sub/d.png", "sub/deep/e.png", "sub/deep/f.png"]


@pytest.fixture
def run(tiny_onnx: Path, tmp_path: Path) -> Callable[..., Summary]:
    """`infer` into `tmp_path/masks`; the keywords are those of `InferSettings`."""

    def run(*sources: Path, **settings: Any) -> Summary:
        given = {"engine": tiny_onnx, "output": tmp_path / "masks", "device": "cpu", "quiet": True, **settings}
        return infer(InferSettings.of(sources=tuple(map(str, sources)), **given))

    return run


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    return tmp_path / "masks"


def rows(folder: Path) -> dict[str, Row]:
    found = list(read_manifest(folder / "manifest.csv"))
    assert len({row.path for row in found}) == len(found), "a tile has one row"
    return {row.path: row for row in found}


def was(path: Path) -> Fingerprint | None:
    return Tile(path, path.name).fingerprint()


def done(key: str, tiles: Path, masks: Path) -> Row:
    """The row of a tile whose mask is there."""
    name = f"{key}.png"
    return Row(key, DONE, name, tile=was(tiles / key), output_size=(masks / name).stat().st_size)


def summary_of(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return facts


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


OURS = {"manifest.csv", "run.json", "summary.json", ".dlcv-lock"}


def test_masks_manifest_and_summary(
    run: Callable[..., Summary], tile_folder: Path, masks: Path, tiny_masks: list[Image], tiny_card: ModelCard
) -> None:
    summary = run(tile_folder)
    assert (summary.tiles, summary.done, summary.failed, summary.resumed) == (6, 6, 0, 0)
    assert files_in(masks) == OURS | {f"{key}.png" for key in KEYS}
    assert rows(masks) == {key: done(key, tile_folder, masks) for key in KEYS}
    for key, expected in zip(KEYS, tiny_masks, strict=True):
        assert np.mean(read_mask(masks / f"{key}.png") == expected) >= SAME
    facts = summary_of(masks)
    assert (facts["tiles"], facts["done"], facts["failed"], facts["complete"]) == (6, 6, 0, True)
    counted = np.bincount(np.concatenate([read_mask(masks / f"{key}.png").ravel() for key in KEYS]), minlength=7)
    assert facts["pixels"] == dict(zip(tiny_card.classes, counted.tolist(), strict=True))
    assert sum(facts["pixels"].values()) == 6 * 64 * 64
    assert facts["tiles_per_second"] > 0
    assert set(facts["time"]) == {"decode", "session", "write"}
    assert all(stage["busy_s"] >= 0 and stage["threads"] >= 1 for stage in facts["time"].values())
    assert facts["session"].startswith(("OpenVINO ", "ONNX Runtime "))


def test_masks_are_what_the_model_says_and_show_the_palette(
    run: Callable[..., Summary],
    tile_folder: Path,
    masks: Path,
    tiny_onnx: Path,
    tiny_scenes: list[Image],
    tiny_card: ModelCard,
) -> None:
    run(tile_folder / "a.png")
    with load(tiny_onnx) as model:
        np.testing.assert_array_equal(read_mask(masks / "a.png.png"), model(tiny_scenes[0]))
    with PillowImage.open(masks / "a.png.png") as image:
        assert image.mode == "P"
        colours = np.array(image.convert("RGB"))
    np.testing.assert_array_equal(colours, np.array(tiny_card.palette, np.uint8)[read_mask(masks / "a.png.png")])


def test_tiles_of_other_sizes_are_what_the_model_says(
    run: Callable[..., Summary], tmp_path: Path, masks: Path, tiny_onnx: Path, write_tile: WriteTile
) -> None:
    from dlcv.train.data.scenes import make_scene

    scene = make_scene(1, 0, 200)[0]
    tiles = {
        "large.png": scene[:150],
        "small.png": scene[:30, :40],
        "wide.png": scene[:64, :130],
        "dot.png": scene[:1, :1],
    }
    for name, image in tiles.items():
        write_tile(tmp_path / "t" / name, image)
    run(tmp_path / "t", batch=3)
    with load(tiny_onnx) as model:
        for name, image in tiles.items():
            mask = read_mask(masks / f"{name}.png")
            assert mask.shape == image.shape[:2]
            assert np.mean(mask == model(image)) >= SAME
    assert sum(summary_of(masks)["pixels"].values()) == sum(image.shape[0] * image.shape[1] for image in tiles.values())


def test_every_head_gives_the_same_masks(
    run: Callable[..., Summary], tile_folder: Path, tiny_graph: Callable[[str], Path], tmp_path: Path
) -> None:
    for head in ("mask", "probs", "logits"):
        run(tile_folder, engine=tiny_graph(head), output=tmp_path / head)
    for head in ("probs", "logits"):
        for key in KEYS:
            assert (
                np.mean(read_mask(tmp_path / head / f"{key}.png") == read_mask(tmp_path / "mask" / f"{key}.png"))
                >= SAME
            )


def test_the_name_template(run: Callable[..., Summary], tile_folder: Path, masks: Path) -> None:
    run(tile_folder, name_template="{folder}/{stem}_mask.png")
    assert files_in(masks) - OURS == {f"{key.removesuffix('.png')}_mask.png" for key in KEYS}
    assert rows(masks)["sub/c.png"].output == "sub/c_mask.png"


def test_an_output_folder_inside_the_tiles_is_not_run(run: Callable[..., Summary], tile_folder: Path) -> None:
    run(tile_folder, output=tile_folder / "masks")
    assert run(tile_folder, output=tile_folder / "masks", resume=True).tiles == 6


def bad_tiles(folder: Path, good: bytes) -> dict[str, str]:
    """Tiles that cannot be run, and what their sentence must say."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3))
    cv2.imwrite(str(folder / "deep.png"), noise.astype(np.uint16) * 100)
    plain = [cv2.IMWRITE_TIFF_COMPRESSION, 1]  # OpenCV 4 would store colours in floats as 16-bit LogLuv
    cv2.imwrite(str(folder / "float.tif"), noise.astype(np.float32), plain)
    (folder / "cut.png").write_bytes(good[: len(good) // 2])
    (folder / "zero.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("not an image, but named like one\n")
    (folder / "locked.png").write_bytes(good)
    (folder / "dangling.png").symlink_to(folder / "gone.png")
    os.mkfifo(folder / "pipe.png")
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 0xFF
    (folder / "flipped.png").write_bytes(flipped)
    return {
        "deep.png": "16-bit values, expected 8-bit; convert it, or give dlcv-infer --scale-16bit MIN,MAX",
        "float.tif": "float",
        "cut.png": "cut",
        "zero.jpg": "the file is empty; copy it again",
        "text.jpg": "not an image: expected JPEG, PNG, TIFF",
        "locked.png": "the file cannot be read: Permission denied",
        "dangling.png": "there is no such file",
        "pipe.png": "expected an image file",
        "flipped.png": "damaged",
    }


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening `locked.png` is refused, as it would be to a user who is not root."""
    from dlcv.runtime import decode

    real = decode._open_at_once

    def refuse(path: str, flags: int) -> int:
        if os.fspath(path).endswith("locked.png"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path, flags)

    monkeypatch.setattr(decode, "_open_at_once", refuse)


@pytest.mark.usefixtures("locked")
def test_tiles_that_cannot_be_run_are_rows_and_the_others_are_written(
    run: Callable[..., Summary], tile_folder: Path, masks: Path
) -> None:
    expected = bad_tiles(tile_folder, (tile_folder / "a.png").read_bytes())
    summary = run(tile_folder)
    assert (summary.tiles, summary.done, summary.failed) == (6 + len(expected), 6, len(expected))
    found = rows(masks)
    assert {key for key, row in found.items() if row.status == DONE} == set(KEYS)
    for key, sentence in expected.items():
        row = found[key]
        assert (row.status, row.output) == (FAILED, "")
        assert sentence in row.reason, f"{key}: {row.reason}"
        assert key not in row.reason, "the path stands beside the reason already"
    assert files_in(masks) - OURS == {f"{key}.png" for key in KEYS}
    assert summary.first_failure.split(": ")[0] in expected
    facts = summary_of(masks)
    assert (facts["failed"], facts["complete"]) == (len(expected), True)
    assert sum(facts["pixels"].values()) == 6 * 64 * 64


def test_grey_alpha_and_cmyk_tiles_are_done(
    run: Callable[..., Summary], tmp_path: Path, masks: Path, tiny_scenes: list[Image], tiny_masks: list[Image]
) -> None:
    folder = tmp_path / "t"
    folder.mkdir()
    scene = tiny_scenes[1]
    PillowImage.fromarray(scene).convert("L").save(folder / "grey.png")
    PillowImage.fromarray(scene).convert("CMYK").save(folder / "cmyk.jpg", quality=100)
    alpha = np.dstack([scene, np.random.default_rng(0).integers(0, 256, scene.shape[:2], np.uint8)])
    PillowImage.fromarray(alpha).save(folder / "rgba.png")
    assert run(folder).done == 3
    assert np.mean(read_mask(masks / "rgba.png.png") == tiny_masks[1]) >= SAME, "the colours stay as stored"


def test_16_bits_with_a_scale(
    run: Callable[..., Summary], tmp_path: Path, masks: Path, tiny_scenes: list[Image], tiny_masks: list[Image]
) -> None:
    (tmp_path / "t").mkdir()
    cv2.imwrite(
        str(tmp_path / "t/deep.png"), np.ascontiguousarray(tiny_scenes[0][..., ::-1]).astype(np.uint16) * 10 + 1000
    )
    assert run(tmp_path / "t", decode=DecodeOptions(scale_16bit=(1000, 3550))).done == 1
    assert np.mean(read_mask(masks / "deep.png.png") == tiny_masks[0]) >= SAME


def test_fit_pad_refuses_larger_tiles_only(
    run: Callable[..., Summary], tile_folder: Path, masks: Path, write_tile: WriteTile
) -> None:
    write_tile(tile_folder / "large.png", np.zeros((65, 64, 3), np.uint8))
    assert run(tile_folder, fit="pad").failed == 1
    assert "tile is 65 x 64, the engine takes 64 x 64; pass --fit windows" in rows(masks)["large.png"].reason


def test_an_output_name_that_the_system_refuses_is_that_tiles_failure(
    run: Callable[..., Summary], tile_folder: Path, masks: Path
) -> None:
    long_name = "x" * 250 + ".png"  # exists, but with another .png behind it is above 255 bytes
    (tile_folder / long_name).write_bytes((tile_folder / "a.png").read_bytes())
    summary = run(tile_folder)
    assert (summary.done, summary.failed) == (6, 1)
    assert "cannot write" in rows(masks)[long_name].reason
    assert run(tile_folder, name_template="{folder}/{name}", overwrite=True).failed == 0


def test_long_names_that_begin_alike_do_not_meet(
    run: Callable[..., Summary], tmp_path: Path, masks: Path, tiny_scenes: list[Image], write_tile: WriteTile
) -> None:
    names = ["x" * 240 + f"{k}.png" for k in range(6)]
    for name, image in zip(names, tiny_scenes, strict=True):
        write_tile(tmp_path / "t" / name, image)
    run(tmp_path / "t", writers=4)
    run(tmp_path / "t", writers=1, decoders=1, output=tmp_path / "serial")
    for name in names:
        assert (masks / f"{name}.png").read_bytes() == (tmp_path / "serial" / f"{name}.png").read_bytes()


def test_hostile_names_go_through_and_stand_in_the_manifest(
    run: Callable[..., Summary], tile_folder: Path, masks: Path
) -> None:
    data = (tile_folder / "a.png").read_bytes()
    names = [b"new\nline.png", b"comma,quote\"'.png", b"back\\slash.png", b"\xff\xfe.png", b"-dash.png", b"%41 {x}.png"]
    keys = [os.fsdecode(name) for name in names]
    for key in keys:
        (tile_folder / key).write_bytes(data)
    assert run(tile_folder).failed == 0
    found = rows(masks)
    for key in keys:
        assert found[key].output == f"{key}.png"
        assert (masks / found[key].output).read_bytes() == (masks / "a.png.png").read_bytes()
    assert run(tile_folder, resume=True).resumed == 12


def test_a_batch_above_the_engines_is_refused(
    run: Callable[..., Summary], tile_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = inference.open_session

    def bounded(*arguments: Any, **options: Any) -> Any:
        session = real(*arguments, **options)
        session.max_batch = 4
        return session

    monkeypatch.setattr(inference, "open_session", bounded)
    with pytest.raises(
        UsageError,
        match=r"--batch 5 is above the 4 that .* was built for; pass a smaller one, or export with --max-batch 5",
    ):
        run(tile_folder, batch=5)
    assert run(tile_folder, batch=4, overwrite=True).done == 6


def test_a_graph_that_is_not_what_its_card_says_is_refused(
    run: Callable[..., Summary], tile_folder: Path, tiny_onnx: Path, tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx")

    from dlcv.runtime.card_reader import read_card

    for change, message in (
        ({"head": "probs"}, "the card says head probs, the graph returns mask; export it again"),
        ({"input_size_hw": (32, 64)}, r"expected one input, image uint8 \(N, 32, 64, 3\), got .*; export it again"),
    ):
        proto = onnx.load(tiny_onnx)
        onnx.helper.set_model_props(proto, {"dlcv": read_card(tiny_onnx).changed(**change).to_json()})
        onnx.save(proto, tmp_path / "c.onnx")
        with pytest.raises(EngineError, match=message):
            run(tile_folder, engine=tmp_path / "c.onnx")


def test_a_graph_that_onnx_runtime_refuses_is_one_line(
    run: Callable[..., Summary], tile_folder: Path, tiny_onnx: Path, tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx")

    proto = onnx.load(tiny_onnx)
    proto.graph.node[3].op_type = "NoSuchOperator"
    onnx.save(proto, tmp_path / "c.onnx")
    with pytest.raises(EngineError, match=r"^ONNX Runtime [\d.]+ refuses .*c\.onnx: .*NoSuchOperator") as caught:
        run(tile_folder, engine=tmp_path / "c.onnx")
    assert "\n" not in str(caught.value)


# resuming


def test_resume_skips_what_is_done_and_runs_the_rest(
    run: Callable[..., Summary], tile_folder: Path, masks: Path
) -> None:
    whole = (tile_folder / "b.png").read_bytes()
    (tile_folder / "b.png").write_bytes(whole[:100])
    assert run(tile_folder).failed == 1
    (masks / "sub/c.png.png").unlink()
    before = {key: (masks / f"{key}.png").stat().st_mtime_ns for key in ("a.png", "sub/d.png")}
    (tile_folder / "b.png").write_bytes(whole)
    summary = run(tile_folder, resume=True)
    assert (summary.tiles, summary.done, summary.failed, summary.resumed) == (6, 6, 0, 4)
    assert rows(masks) == {key: done(key, tile_folder, masks) for key in KEYS}
    assert {key: (masks / f"{key}.png").stat().st_mtime_ns for key in before} == before
    facts = summary_of(masks)
    assert (facts["done"], facts["resumed"], facts["complete"]) == (6, 4, True)


def test_resume_takes_new_tiles_and_keeps_the_rows_of_others(
    run: Callable[..., Summary], tile_folder: Path, masks: Path
) -> None:
    run(tile_folder / "a.png", tile_folder / "b.png")
    (tile_folder / "new.png").write_bytes((tile_folder / "a.png").read_bytes())
    summary = run(tile_folder / "new.png", tile_folder / "a.png", resume=True)
    assert (summary.tiles, summary.resumed) == (2, 1)
    assert set(rows(masks)) == {"a.png", "b.png", "new.png"}


def test_resume_after_a_crash_clears_half_written_files(
    run: Callable[..., Summary], tile_folder: Path, masks: Path
) -> None:
    run(tile_folder)
    manifest = masks / "manifest.csv"
    lines = sorted(manifest.read_bytes().splitlines(keepends=True), key=lambda line: not line.startswith(b"path,"))
    kept = [line for line in lines if line.startswith((b"path,", b"a.png", b"b.png", b"sub/c"))]
    manifest.write_bytes(b"".join(kept) + b"sub/d.png,do")
    for name in ("sub/.x.png.1234.partial", "sub/deep/.y.png.1234.partial"):
        (masks / name).write_bytes(b"half")
    summary = run(tile_folder, resume=True)
    assert (summary.resumed, summary.done) == (3, 6)
    assert set(rows(masks)) == set(KEYS)
    assert files_in(masks) == OURS | {f"{key}.png" for key in KEYS}


def test_resume_with_another_engine_or_setting_is_refused(
    run: Callable[..., Summary], tile_folder: Path, tiny_graph: Callable[[str], Path]
) -> None:
    run(tile_folder)
    with pytest.raises(UsageError, match="holds a run with another engine_sha256; start again with --overwrite"):
        run(tile_folder, engine=tiny_graph("probs"), resume=True)
    with pytest.raises(UsageError, match="holds a run with another fit, overlap; start"):
        run(tile_folder, fit="resize", overlap=0.5, resume=True)
    with pytest.raises(UsageError, match="holds a run already; go on with it by --resume"):
        run(tile_folder)
    assert run(tile_folder, engine=tiny_graph("probs"), overwrite=True).done == 6


def test_a_folder_in_use_is_refused(run: Callable[..., Summary], tile_folder: Path, masks: Path) -> None:
    with (
        RunFolder(masks, {}),
        pytest.raises(UsageError, match="masks is in use by another run of dlcv-infer; wait for it, or name"),
    ):
        run(tile_folder)
    assert run(tile_folder, overwrite=True).done == 6


# results that cannot be written


def test_an_output_that_is_a_file(run: Callable[..., Summary], tile_folder: Path, masks: Path) -> None:
    masks.write_text("x")
    with pytest.raises(OutputError, match=r"cannot make the folder .*masks: File exists; choose another with --output"):
        run(tile_folder)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_write_that_is_refused_ends_the_run_with_whole_masks(
    run: Callable[..., Summary], tile_folder: Path, masks: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real = os.replace

    def refuse(source: Any, target: Any) -> None:
        if Path(target).name in ("d.png.png", "e.png.png"):
            raise OSError(number, os.strerror(number))
        real(source, target)

    monkeypatch.setattr("dlcv.runtime.files.os.replace", refuse)
    with pytest.raises(OutputError, match=rf"^cannot write .*(d|e)\.png\.png: {os.strerror(number)}$"):
        run(tile_folder)
    monkeypatch.undo()
    for row in rows(masks).values():
        assert row.status == DONE
        assert read_mask(masks / row.output).shape == (64, 64)
    assert not list(masks.rglob("*.partial"))
    assert summary_of(masks)["complete"] is False
    assert run(tile_folder, resume=True).done == 6


def test_a_file_where_a_folder_must_be_is_those_tiles_failure(
    run: Callable[..., Summary], tile_folder: Path, masks: Path
) -> None:
    masks.mkdir()
    (masks / "sub").write_text("in the way")
    summary = run(tile_folder)
    assert (summary.done, summary.failed) == (2, 4)
    assert "cannot make the folder" in rows(masks)["sub/c.png"].reason
