"""int8 graphs: what TensorRT reads, what ONNX Runtime runs in int8, and which images set the ranges."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from dlcv.export.precision.calibration import METHODS, calibration_tiles, int8_from_onnx
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.datasets.loading import labelled_for
from dlcv.runtime.errors import DatasetError

GraphOf = Callable[[str], onnx.ModelProto]
Scenes = list[NDArray[np.uint8]]


@pytest.fixture(scope="session")
def int8(tiny_graph: Callable[[str], Path], tiny_scenes: Scenes) -> onnx.ModelProto:
    return int8_from_onnx(onnx.load(tiny_graph("mask")), tiny_scenes)


def test_quantisation_is_symmetric_with_weights_by_channel_and_no_bias(int8: onnx.ModelProto) -> None:
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in int8.graph.initializer}
    pairs = [node for node in int8.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert pairs
    for node in pairs:
        assert np.all(values[node.input[1]] > 0)
        assert not np.any(values[node.input[2]]) and values[node.input[2]].dtype == np.int8
    by_channel = [node for node in pairs if values[node.input[1]].ndim == 1]
    assert len(by_channel) == 20, "two of the 21 layers begin with the same bilinear weight"
    assert all(values[node.input[0]].dtype == np.int8 for node in by_channel)
    assert not any(tensor.data_type == TensorProto.INT32 for tensor in int8.graph.initializer)


def test_what_goes_in_and_out_stays_in_float(int8: onnx.ModelProto) -> None:
    head = [node.op_type for node in int8.graph.node][-4:]
    assert head == ["ConvTranspose", "ArgMax", "Cast", "Cast"], "no pair behind the logits: they would tie"
    assert [node.op_type for node in int8.graph.node if node.op_type in ("Cast", "Sub", "Div")][:3] == ["Cast", "Sub", "Div"]  # fmt: skip


def test_no_pair_has_two_readers(int8: onnx.ModelProto) -> None:
    """Or ONNX Runtime leaves the convolution behind it in float32."""
    readers = Counter(name for node in int8.graph.node for name in node.input)
    quantised = {name for node in int8.graph.node if node.op_type == "QuantizeLinear" for name in node.output}
    found = [readers[node.output[0]] for node in int8.graph.node if quantised & set(node.input)]
    assert len(found) > 30 and set(found) == {1}


def test_a_convolution_that_makes_the_output_itself_keeps_its_name(ort_run: Callable[..., NDArray[Any]]) -> None:
    """As U-Net's logits: the quantizer gives the output's name to the pair behind, which is taken away."""
    weight = np.random.default_rng(0).standard_normal((4, 3, 1, 1)).astype(np.float32)
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
            onnx.helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
            onnx.helper.make_node("Conv", ["planes", "weight"], ["logits"], name="last"),
        ],
        "last-convolution",
        [onnx.helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 8, 8, 3])],
        [onnx.helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 4, 8, 8])],
        [numpy_helper.from_array(weight, "weight")],
    )
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    images = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    quantised = int8_from_onnx(proto, images)
    assert [(node.op_type, list(node.output)) for node in quantised.graph.node][-1] == ("Conv", ["logits"])
    plain, low = (ort_run(one, images) for one in (proto, quantised))
    assert np.abs(plain - low).max() < 0.05 * np.abs(plain).max(), "255 levels of each input and weight"


@pytest.mark.parametrize("method", METHODS)
def test_every_method_keeps_most_of_the_answers(method: str, graph_of: GraphOf, tiny_scenes: Scenes, ort_run: Callable[..., NDArray[Any]], capfd: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    batch = np.stack(tiny_scenes)
    found = ort_run(int8_from_onnx(graph_of("mask"), tiny_scenes[:2], method), batch)
    # random weights: logits lie near each other; and entropy, as ONNX Runtime computes it, cuts deep
    assert np.mean(found == ort_run(graph_of("mask"), batch)) > (0.4 if method == "entropy" else 0.85)
    assert capfd.readouterr().out == "", "ONNX Runtime's calibrators print, and stdout is the list of files"


@pytest.mark.parametrize("method", METHODS)
def test_every_method_keeps_most_of_a_classifiers_answers(method: str, classifier_graph: onnx.ModelProto, tiny_crops: NDArray[np.uint8], ort_run: Callable[..., NDArray[Any]], capfd: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """Few layers: for entropy, ONNX Runtime searches for a second or more of each tensor's range."""
    quantised = int8_from_onnx(classifier_graph, list(tiny_crops), method)
    found, expected = (ort_run(graph, tiny_crops) for graph in (quantised, classifier_graph))
    assert 0 < np.abs(found - expected).max() < 1
    assert np.mean(found.argmax(1) == expected.argmax(1)) > 0.85
    assert len(set(expected.argmax(1))) >= 3, "there are answers to be lost"
    assert capfd.readouterr().out == "", "ONNX Runtime's calibrators print, and stdout is the list of files"


def test_ranges_from_images_without_contrast_are_wrong(graph_of: GraphOf, tiny_scenes: Scenes, ort_run: Callable[..., NDArray[Any]]) -> None:  # fmt: skip
    batch = np.stack(tiny_scenes)
    found = ort_run(int8_from_onnx(graph_of("mask"), [np.full_like(tiny_scenes[0], 116)]), batch)
    assert np.mean(found == ort_run(graph_of("mask"), batch)) < 0.8


def test_images_come_from_the_folder_evenly_and_fitted(tiny_card: ModelCard, tiny_data: Path, tile_folder: Path, write_tile: Any) -> None:  # fmt: skip
    verified = labelled_for(tiny_card, tiny_data)
    write_tile(tile_folder / "a.png", np.zeros((20, 30, 3), np.uint8))
    found = calibration_tiles(tile_folder, 2, tiny_card, verified)
    assert len(found.windows) == 2 and {w.shape for w in found.windows} == {(64, 64, 3)}
    assert found.verified_on == 1, "the very file, told by its hash"
    assert found.sentence.startswith(f"2 images of {tile_folder}; 1 of them are also verified on")
    own = calibration_tiles(None, 3, tiny_card, verified)
    assert (len(own.windows), own.verified_on) == (3, 3)
    assert own.sentence.endswith("3 of them are also verified on: better name training images with --calibration-data DIR")  # fmt: skip


def test_images_of_another_size_are_refused_and_a_few_of_them_told(tiny_card: ModelCard, tiny_data: Path, tmp_path: Path, write_tile: Any) -> None:  # fmt: skip
    verified = labelled_for(tiny_card, tiny_data)
    write_tile(tmp_path / "a.png", np.full((5, 7, 3), 90, np.uint8))
    with pytest.raises(DatasetError, match=r"^--calibration-data: 1 of 1 tiles are far smaller than those that are verified on and than the 64 x 64 px of the graph \(\S+a\.png: 7 x 5 px\); name a folder with tiles of training$"):  # fmt: skip
        calibration_tiles(tmp_path, 4, tiny_card, verified)
    for name in "bc":
        write_tile(tmp_path / f"{name}.png", np.full((40, 90, 3), 90, np.uint8))
    found = calibration_tiles(tmp_path, 4, tiny_card, verified)
    assert "; 1 of 3 tiles are far smaller than" in found.sentence and ": better leave them out; " in found.sentence
    assert found.sentence.endswith("; so few may not show what others hold: better give 8 or more")
    assert found.to_dict()["doubts"] == list(found.doubts)


def test_noise_is_told(tiny_card: ModelCard, tiny_data: Path, tmp_path: Path, write_tile: Any, tiny_scenes: Scenes) -> None:  # fmt: skip
    verified, rng = labelled_for(tiny_card, tiny_data), np.random.default_rng(0)
    (tmp_path / "noise").mkdir()
    (tmp_path / "scenes").mkdir()
    for k in range(8):
        write_tile(tmp_path / "noise" / f"{k}.png", rng.integers(0, 256, (64, 64, 3), np.uint8))
        write_tile(tmp_path / "scenes" / f"{k}.png", tiny_scenes[k % 6] // 2)
    noise = calibration_tiles(tmp_path / "noise", 8, tiny_card, verified)
    assert len(noise.doubts) == 1 and re.match(
        r"they look like noise, neighbouring pixels correlate by -?0\.0", noise.doubts[0]
    )
    assert noise.doubts[0].endswith(" where verified: better name tiles of training")
    assert calibration_tiles(tmp_path / "scenes", 8, tiny_card, verified).doubts == (), "the control"


@pytest.mark.parametrize("content", ["missing", "empty", "damaged"])
def test_a_folder_that_cannot_be_used_is_told(content: str, tiny_card: ModelCard, tiny_data: Path, tmp_path: Path) -> None:  # fmt: skip
    verified, folder = labelled_for(tiny_card, tiny_data), tmp_path / "tiles"
    if content != "missing":
        folder.mkdir()
    if content == "damaged":
        (folder / "a.png").write_bytes(b"x")
    sentence = {
        "missing": r"^--calibration-data: \S+tiles does not exist; .*name a folder with tiles of training$",
        "empty": r"^--calibration-data: no tiles in \S+tiles; .*name a folder with tiles of training$",
        "damaged": r"a\.png: .*; calibration needs tiles that can be read$",
    }[content]
    with pytest.raises(DatasetError, match=sentence):
        calibration_tiles(folder, 4, tiny_card, verified)
