"""A folder of tiles through an engine: masks, manifest, summary; and engines that are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from infer_runs import KEYS, OURS, SAME, Image, WriteTile, files_in, rows, rows_of_done, summary_of
from PIL import Image as PillowImage

from dlcv.runtime import load
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import EngineError, UsageError
from dlcv.runtime.masks import read_mask
from dlcv.runtime.run import engine as run_engine
from dlcv.runtime.run.inference import Summary
from dlcv.runtime.tiles.decode import DecodeOptions


def test_masks_manifest_and_summary(
    run: Callable[..., Summary], tile_folder: Path, masks: Path, tiny_masks: list[Image], tiny_card: ModelCard
) -> None:
    summary = run(tile_folder)
    assert (summary.tiles, summary.done, summary.failed, summary.resumed) == (6, 6, 0, 0)
    assert files_in(masks) == OURS | {f"{key}.png" for key in KEYS}
    assert rows(masks) == rows_of_done(tile_folder, masks)
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


def test_a_batch_above_the_engines_is_refused(
    run: Callable[..., Summary], tile_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = run_engine.open_session

    def bounded(*arguments: Any, **options: Any) -> Any:
        session = real(*arguments, **options)
        session.max_batch = 4
        return session

    monkeypatch.setattr(run_engine, "open_session", bounded)
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

    from dlcv.runtime.card.reader import read_card

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
