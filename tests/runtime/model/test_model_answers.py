"""What a model gives beside masks, and that it is what `dlcv-infer` writes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from dlcv.runtime import load
from dlcv.runtime.answers import Segmented
from dlcv.runtime.errors import DatasetError, TileError, UsageError
from dlcv.runtime.pipeline import hanging
from dlcv.runtime.run.inference import InferSettings, infer
from dlcv.runtime.tiles import decode
from dlcv.runtime.tiles.decode import DecodeOptions

Image = NDArray[np.uint8]
WriteTile = Callable[[Path, Image], None]


def _images() -> list[Image]:
    rng = np.random.default_rng(8)
    return [rng.integers(0, 256, size, np.uint8) for size in ((64, 64, 3), (100, 130, 3), (40, 90, 3))]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"overlap": 0.5},
        {"blend": False},
        {"tta": "flips"},
        {"tta": "full", "overlap": 0.1},
        {"fit": "resize", "blend": True},
    ],
    ids=str,
)
def test_masks_are_those_that_dlcv_infer_writes(
    tiny_graph: Callable[[str], Path], tmp_path: Path, write_tile: WriteTile, options: dict[str, Any]
) -> None:
    engine, images = tiny_graph("probs"), _images()
    for index, image in enumerate(images):
        write_tile(tmp_path / "tiles" / f"{index}.png", image)
    settings = InferSettings.of(
        engine=engine, sources=(str(tmp_path / "tiles"),), output=tmp_path / "masks", batch=1, quiet=True, **options
    )
    assert infer(settings).done == len(images)
    with load(engine, batch=1, **options) as model:
        masks = model(images)
    for index, mask in enumerate(masks):
        written = np.asarray(Pillow.open(tmp_path / "masks" / f"{index}.png.png"))
        # the command runs a batch a core and the model one in all its threads: float32 sums may decide ties otherwise
        assert np.mean(written == mask) >= 0.9999, index


def test_options_change_what_they_speak_of(tiny_graph: Callable[[str], Path]) -> None:
    image = _images()[1]
    masks = []
    for options in ({}, {"blend": False}, {"overlap": 0.5}, {"tta": "full"}):
        with load(tiny_graph("probs"), **options) as model:  # type: ignore[arg-type]
            masks.append(model(image))
    for other in masks[1:]:
        assert np.mean(masks[0] == other) < 1


@pytest.mark.parametrize("head", ["probs", "logits"])
@pytest.mark.parametrize("blend", [None, False])
def test_confidence_is_the_probability_of_the_chosen_class(
    tiny_graph: Callable[[str], Path], head: str, blend: bool | None, tiny_scenes: list[Image]
) -> None:
    with load(tiny_graph(head), blend=blend) as model, load(tiny_graph("probs")) as expected:
        probs = expected.session.run(tiny_scenes[0][None])["probs"][0]
        found = model.segment(tiny_scenes[0])
        assert isinstance(found, Segmented)
        assert found.confidence is not None
        np.testing.assert_array_equal(found.mask, model(tiny_scenes[0]))
        # float32 softmax in the graph and in numpy
        np.testing.assert_allclose(found.confidence, probs.max(0), rtol=0, atol=1e-5)
        several = model.segment([image[:40] for image in tiny_scenes[:2]])
        assert [one.mask.shape for one in several] == [(40, 64)] * 2
        assert all(one.confidence is not None and one.confidence.dtype == np.float32 for one in several)


def test_an_engine_of_masks_gives_no_confidence_and_refuses_what_needs_it(
    tiny_onnx: Path, tiny_scenes: list[Image]
) -> None:
    with load(tiny_onnx) as model:
        found = model.segment(np.stack(tiny_scenes[:2]))
        assert isinstance(found, list)
        assert [one.confidence for one in found] == [None, None]
    for options, what in (({"blend": True}, "--blend"), ({"tta": "flips"}, "--tta flips")):
        with pytest.raises(
            UsageError, match=rf"^{what}: needs probabilities, and .*\.onnx returns masks; export it with --head probs$"
        ):
            load(tiny_onnx, **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="unknown tta 'some'; it is one of none, flips, full"):
        load(tiny_onnx, tta="some")
    with pytest.raises(UsageError, match="the overlap of windows is 1, expected 0 or more and less than 1"):
        load(tiny_onnx, overlap=1.0)


def test_a_classifier_averages_but_has_no_windows(colour_engine: Path, colours: Any) -> None:
    with load(colour_engine, tta="flips") as model, load(colour_engine) as plain:
        image = colours.colour_tile("red", 0)
        np.testing.assert_allclose(model(image), plain(image), rtol=0, atol=1e-6)  # a mean colour does not turn
        with pytest.raises(UsageError, match="classifies and gives no masks; call the model for its probabilities"):
            model.segment(image)
    with pytest.raises(UsageError, match="overlap, blend: for segmentation only"):
        load(colour_engine, blend=False)


# streams


def test_a_stream_gives_files_and_arrays_in_their_order(
    tiny_onnx: Path, tile_folder: Path, tiny_scenes: list[Image]
) -> None:
    names = ("a", "b", "sub/c", "sub/d", "sub/deep/e", "sub/deep/f")
    items: list[Path | Image] = [tile_folder / f"{name}.png" for name in names]
    items[2] = tiny_scenes[2]
    with load(tiny_onnx, batch=4) as model:
        outcomes = list(model.stream(items))
        assert [outcome.tile is item for outcome, item in zip(outcomes, items, strict=True)] == [True] * 6
        for outcome, scene in zip(outcomes, tiny_scenes, strict=True):
            assert outcome.result is not None
            assert np.mean(outcome.result == model(scene)) >= 0.9999  # another batch
        assert list(model.stream([])) == []


def test_a_bad_file_does_not_end_a_stream(tiny_onnx: Path, tile_folder: Path, write_tile: WriteTile) -> None:
    (tile_folder / "b.png").write_bytes(b"no image")
    write_tile(tile_folder / "large.png", np.zeros((90, 90, 3), np.uint8))
    names = ("a.png", "b.png", "large.png", "gone.png", "sub/c.png")
    with load(tiny_onnx, fit="pad") as model:
        outcomes = list(model.stream(str(tile_folder / name) for name in names))
    assert [outcome.error is None for outcome in outcomes] == [True, False, False, False, True]
    assert isinstance(outcomes[1].error, TileError)
    assert "pass --fit windows" in str(outcomes[2].error)
    assert str(outcomes[3].error) == "there is no such file"


def test_a_stream_takes_no_more_than_it_has_room_for(tiny_onnx: Path, tiny_scenes: list[Image]) -> None:
    taken = 0

    def endless() -> Iterator[Image]:
        nonlocal taken
        while True:
            taken += 1
            yield tiny_scenes[taken % 6]

    with load(tiny_onnx, batch=2) as model:
        stream = model.stream(endless(), decoders=2)
        for count in range(1, 30):
            assert next(stream).result is not None
            assert taken <= count + 2 * 2 + 2 + 1, "two a decoder read ahead, a batch, and the one at hand"
        stream.close()
        with pytest.raises(UsageError, match=r"expected images as uint8 \(H, W, 3\), RGB, got float32"):
            list(model.stream([np.zeros((64, 64, 3), np.float32)]))
        with pytest.raises(UsageError, match="decoders is 0, expected at least 1"):
            list(model.stream([], decoders=0))


def test_each_frame_of_a_live_stream_is_answered_before_the_next_is_taken(
    tiny_onnx: Path, tiny_scenes: list[Image]
) -> None:
    happened: list[str] = []

    def frames() -> Iterator[Image]:
        for number in range(4):
            happened.append(f"taken {number}")
            yield np.zeros((1, 1, 4), np.uint8)[..., :3] if number == 2 else tiny_scenes[number]

    with load(tiny_onnx, batch=8, fit="pad") as model:
        expected = [model(tiny_scenes[number]) for number in (0, 1, 3)]
        outcomes = []
        for outcome in model.stream(frames(), live=True):
            happened.append("answered")
            outcomes.append(outcome)
    assert happened == [word for number in range(4) for word in (f"taken {number}", "answered")]
    found = [outcome.result for number, outcome in enumerate(outcomes) if number != 2]
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))
    assert outcomes[2].result is not None
    assert outcomes[2].result.shape == (1, 1)


def test_a_file_whose_reading_hangs_does_not_hold_up_a_stream(
    tiny_onnx: Path, tile_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, never, real = ("a", "b", "sub/c", "sub/d", "sub/deep/e"), threading.Event(), decode.decode_file

    def read(path: Path, *others: Any) -> Any:
        if path.name in ("a.png", "d.png"):
            never.wait(60)
        return real(path, *others)

    monkeypatch.setattr(decode, "decode_file", read)
    start = time.monotonic()
    try:
        with load(tiny_onnx) as model:
            outcomes = list(model.stream((tile_folder / f"{name}.png" for name in names), decoders=1, tile_timeout_s=1))
            monkeypatch.setattr(hanging, "MOST_HUNG", 1)
            with pytest.raises(DatasetError, match=r"^2 tiles hang: reading it took longer than 0\.5 s; look at"):
                list(model.stream([tile_folder / "a.png"] * 3, tile_timeout_s=0.5))
            with pytest.raises(UsageError, match=r"tile_timeout_s is -1, expected seconds, or 0 to wait for ever"):
                list(model.stream([], tile_timeout_s=-1))
    finally:
        never.set()
    assert time.monotonic() - start < 30
    assert [outcome.error is None for outcome in outcomes] == [False, True, True, False, True]
    assert str(outcomes[0].error) == (
        "reading it took longer than 1 s; look at its storage, or give a longer tile_timeout_s"
    )


def test_a_stream_takes_options_of_decoding(tiny_onnx: Path, tmp_path: Path) -> None:
    deep = np.full((64, 64), 5000, np.uint16)
    Pillow.fromarray(deep).save(tmp_path / "deep.png")
    with load(tiny_onnx) as model:
        (refused,) = model.stream([tmp_path / "deep.png"])
        (done,) = model.stream([tmp_path / "deep.png"], decode=DecodeOptions(scale_16bit=(0, 10000)))
    assert "16-bit values" in str(refused.error)
    assert done.error is None and done.result is not None


def test_a_stream_of_a_classifier_gives_probabilities(colour_engine: Path, colour_folder: Path, colours: Any) -> None:
    with load(colour_engine) as model:
        found = [outcome.result for outcome in model.stream(sorted(colour_folder.rglob("*.png")))]
    names = [colours.CARD.classes[int(np.argmax(probs))] for probs in found if probs is not None]
    assert names == ["green", "red", "blue", "grey", "red"]
