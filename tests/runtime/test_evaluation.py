"""An engine on labelled tiles, as a function and as `dlcv-evaluate`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from dlcv.runtime.card import ModelCard
from dlcv.runtime.cli.evaluate import main
from dlcv.runtime.datasets.description import load_description
from dlcv.runtime.datasets.labels import read_label
from dlcv.runtime.datasets.pairs import find_pairs
from dlcv.runtime.errors import DatasetError
from dlcv.runtime.evaluation import evaluate, find_description, require_same_classes
from dlcv.runtime.metrics import confusion_matrix, mean_iou
from dlcv.runtime.pipeline import PipelineSettings
from dlcv.runtime.sessions import open_session

DESCRIPTION = load_description("deepglobe")


@pytest.fixture
def data(tiny_data: Path, tmp_path: Path) -> Path:
    """A copy of the labelled tiles, to be changed."""
    return Path(shutil.copytree(tiny_data, tmp_path / "data"))


def expected_confusion(data: Path, masks: list[NDArray[np.uint8]]) -> NDArray[np.int64]:
    pairs = find_pairs(data, DESCRIPTION)
    labels = np.stack([read_label(pair, DESCRIPTION) for pair in pairs])
    return confusion_matrix(labels, np.stack(masks), len(DESCRIPTION.classes))


@pytest.mark.parametrize("settings", [PipelineSettings(), PipelineSettings(batch=4, decoders=3, writers=2)])
def test_the_confusion_is_that_of_torchs_masks(
    tiny_onnx: Path, tiny_data: Path, tiny_masks: list[NDArray[np.uint8]], settings: PipelineSettings
) -> None:
    with open_session(tiny_onnx, device="cpu") as session:
        got = evaluate(session, find_pairs(tiny_data, DESCRIPTION), DESCRIPTION, settings, quiet=True)
    expected = expected_confusion(tiny_data, tiny_masks)
    assert got.sum() == expected.sum() == 6 * 64 * 64
    assert np.abs(got - expected).sum() <= 4  # two ties at most, decided by the order of float32 sums


def test_other_classes_are_refused(tiny_card: ModelCard) -> None:
    with pytest.raises(
        DatasetError, match=r"the engine's classes are urban, .*, those of dataset dubai512 are building, .* --dataset$"
    ):
        require_same_classes(tiny_card, load_description("dubai512"))


def test_which_description_is_taken(tiny_card: ModelCard, tmp_path: Path) -> None:
    assert find_description("dubai512", tmp_path, tiny_card).name == "dubai512"
    assert find_description(None, tmp_path, tiny_card).name == "deepglobe"
    own = {**DESCRIPTION.to_dict(), "name": "beside the tiles"}
    (tmp_path / "dataset.json").write_text(json.dumps(own))
    assert find_description(None, tmp_path, tiny_card).name == "beside the tiles"
    other = tiny_card.changed(classes=("x", *tiny_card.classes[1:]))
    with pytest.raises(
        DatasetError, match=r"no dataset that ships has the classes of this model \(x, .*--dataset FILE\.json"
    ):
        find_description(None, tmp_path / "none", other)


def invoke(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_the_command_prints_a_table_and_writes_json(
    tiny_onnx: Path, data: Path, tiny_masks: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    expected = mean_iou(expected_confusion(data, tiny_masks), DESCRIPTION.uncounted)
    code, out, err = invoke("--engine", tiny_onnx, "--data", data, "--json", tmp_path / "r.json")
    assert code == 0
    row = next(line for line in out.splitlines() if line.startswith("| mean IoU"))
    assert float(row.split("|")[2]) == pytest.approx(expected, abs=1e-3)
    assert "unknown (not counted)" in out
    assert "6 tiles; majority predictor (" in err
    facts = json.loads((tmp_path / "r.json").read_text())
    assert facts["tiles"] == 6
    assert facts["mean_iou"] == pytest.approx(expected, abs=1e-3)
    assert set(facts["iou"]) == set(DESCRIPTION.classes)
    assert np.sum(facts["confusion"]) == 6 * 64 * 64
    assert facts["mean_iou"] > facts["majority_mean_iou"]


def test_validation_is_taken_where_it_is(tiny_onnx: Path, data: Path) -> None:
    (data / "validation").mkdir()
    for name in ("t0_sat.jpg", "t0_mask.png"):
        (data / name).rename(data / "validation" / name)
    assert invoke("--engine", tiny_onnx, "--data", data)[2].count("1 tiles;") == 1


def test_what_is_wrong_with_the_data_is_one_line_and_exit_2(tiny_onnx: Path, data: Path) -> None:
    def refused(message: str) -> None:
        code, out, err = invoke("--engine", tiny_onnx, "--data", data)
        assert (code, out) == (2, "")
        assert err.startswith("dlcv-evaluate: ")
        assert err.count("\n") == 1
        assert message in err

    mask = cv2.imread(str(data / "t3_mask.png"))
    assert mask is not None
    cv2.imwrite(str(data / "t3_mask.png"), mask[:32])
    refused("t3_mask.png is 32 x 64, its image ")
    cv2.imwrite(str(data / "t3_mask.png"), mask)
    (data / "t2_sat.jpg").write_bytes(b"")
    refused("t2_sat.jpg: the file is empty; copy it again")
    (data / "t2_sat.jpg").unlink()
    refused("1 mask has no image, the first is ")
    shutil.rmtree(data)
    refused(f"there is no folder {data}")


def test_an_engine_of_other_classes_is_one_line_and_exit_2(tiny_onnx: Path, data: Path) -> None:
    code, _, err = invoke("--engine", tiny_onnx, "--data", data, "--dataset", "dubai512")
    assert code == 2
    assert "dubai512" in err
    code, _, err = invoke("--engine", "nowhere.onnx", "--data", data)
    assert (code, err) == (2, "dlcv-evaluate: nowhere.onnx does not exist; make it with: dlcv-export --model NAME\n")
