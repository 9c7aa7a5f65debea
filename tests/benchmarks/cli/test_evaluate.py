"""`dlcv-evaluate`: engines and checkpoints of both tasks, what it prints and writes, and every refusal."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from dlcv.benchmarks.cli.evaluate import main
from dlcv.runtime.datasets.masks.description import load_description
from dlcv.runtime.datasets.masks.labels import read_label
from dlcv.runtime.datasets.masks.pairs import find_pairs
from dlcv.runtime.metrics.segmentation import confusion_matrix, mean_iou

DESCRIPTION = load_description("deepglobe")
BLOCKED = "import sys\nfor name in ('torch', 'onnx', 'onnxscript', 'dlcv.export'): sys.modules[name] = None"


@pytest.fixture
def data(tiny_data: Path, tmp_path: Path) -> Path:
    """A copy of the labelled tiles, to be changed."""
    return Path(shutil.copytree(tiny_data, tmp_path / "data"))


def expected_iou(data: Path, masks: list[NDArray[np.uint8]]) -> float:
    labels = np.stack([read_label(pair, DESCRIPTION) for pair in find_pairs(data, DESCRIPTION)])
    return mean_iou(confusion_matrix(labels, np.stack(masks), len(DESCRIPTION.classes)), DESCRIPTION.uncounted)


def invoke(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in (*arguments, "--device", "cpu")])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def rows(table: str) -> dict[str, str]:
    cells = [line.split("|") for line in table.splitlines() if line.startswith("|")]
    return {cell[1].strip(): cell[2].strip() for cell in cells[2:]}


def test_the_command_prints_a_table_and_writes_json(
    tiny_onnx: Path, data: Path, tiny_masks: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    expected = expected_iou(data, tiny_masks)
    code, out, err = invoke("--engine", tiny_onnx, "--data", data, "--json", tmp_path / "r.json")
    assert code == 0
    assert float(rows(out)["mean IoU"]) == pytest.approx(expected, abs=1e-3)
    assert list(rows(out)) == ["mean IoU", *DESCRIPTION.classes[:-1], "unknown (not counted)", "pixel accuracy"]
    assert "6 tiles; majority predictor (" in err
    facts = json.loads((tmp_path / "r.json").read_text())
    assert (facts["engine"], facts["tiles"], facts["count"]) == (str(tiny_onnx), 6, 6 * 64 * 64)
    assert facts["mean_iou"] == pytest.approx(expected, abs=1e-3)
    assert set(facts["iou"]) == set(DESCRIPTION.classes)
    assert np.sum(facts["confusion"]) == 6 * 64 * 64
    assert facts["mean_iou"] > facts["majority_mean_iou"]
    assert "predicts only" not in err


def test_a_checkpoint_gives_what_its_graph_gives(
    tiny_onnx: Path, tiny_checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torch", reason="the train extra is not installed")
    for option, path in (("--engine", tiny_onnx), ("--checkpoint", tiny_checkpoint)):
        assert invoke(option, path, "--data", data, "--json", tmp_path / f"{option}.json")[0] == 0
    graph, torchs = (json.loads((tmp_path / f"{option}.json").read_text()) for option in ("--engine", "--checkpoint"))
    assert torchs["checkpoints"] == [str(tiny_checkpoint)] and "engine" not in torchs
    # two ties at most, decided by the order of float32 sums
    assert np.abs(np.subtract(graph["confusion"], torchs["confusion"])).sum() <= 4


def test_validation_is_taken_where_it_is(tiny_onnx: Path, data: Path) -> None:
    assert f"{data} has no validation/: all its 6 tiles count" in invoke("--engine", tiny_onnx, "--data", data)[2]
    (data / "validation").mkdir()
    for name in ("t0_sat.jpg", "t0_mask.png"):
        (data / name).rename(data / "validation" / name)
    err = invoke("--engine", tiny_onnx, "--data", data)[2]
    assert err.count("1 tiles;") == 1
    assert "flatter" not in err


def test_a_runs_split_names_the_images(tiny_onnx: Path, data: Path, tmp_path: Path) -> None:
    split = tmp_path / "split.csv"
    split.write_text("name,split\nt0,validation\nt1,train\nt2,validation\nt3,train\nt4,train\nt5,train\n")
    code, _, err = invoke("--engine", tiny_onnx, "--data", data, "--split", split)
    assert code == 0, err
    assert "2 tiles;" in err and "flatter" not in err
    split.write_text("name,split\nt9,validation\n")
    code, _, err = invoke("--engine", tiny_onnx, "--data", data, "--split", split)
    assert code == 2
    assert "1 of the 1 validation images" in err and "t9" in err


def test_what_is_wrong_with_the_data_is_one_line_and_exit_2(tiny_onnx: Path, data: Path) -> None:
    def refused(message: str) -> None:
        code, out, err = invoke("--engine", tiny_onnx, "--data", data)
        assert (code, out) == (2, "")
        last = err.splitlines()[-1]
        assert last.startswith("dlcv-evaluate: ")
        assert message in last

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


def test_one_kind_is_expected(tiny_onnx: Path, tiny_checkpoint: Path, data: Path) -> None:
    for given in ((), ("--engine", tiny_onnx, "--checkpoint", tiny_checkpoint)):
        code, out, err = invoke(*given, "--data", data)
        assert (code, out) == (2, "")
        assert err == "dlcv-evaluate: expected either --engine FILE or --checkpoint FILE, which may be repeated\n"
    _, _, err = invoke("--engine", tiny_checkpoint, "--data", data)
    assert err.endswith("best.pt is a file of kind checkpoint; --engine FILE expects an .onnx or a .plan\n")
    _, _, err = invoke("--checkpoint", tiny_onnx, "--data", data)
    assert err.endswith("mask.onnx is a file of kind onnx; --checkpoint FILE expects a best.pt\n")


def test_the_result_does_not_replace_an_input(tiny_onnx: Path, data: Path) -> None:
    code, _, err = invoke("--engine", tiny_onnx, "--data", data, "--json", tiny_onnx)
    assert (code, err) == (2, f"dlcv-evaluate: {tiny_onnx} is an input and would be overwritten; name another file\n")


def test_an_engine_needs_no_torch_and_a_checkpoint_says_so(
    run_command: Callable[..., Any], tiny_onnx: Path, tiny_checkpoint: Path, tiny_data: Path
) -> None:
    options = ("--data", tiny_data, "--device", "cpu")
    result = run_command("dlcv-evaluate", "--engine", tiny_onnx, *options, before=BLOCKED)
    assert result.returncode == 0, result.stderr
    result = run_command("dlcv-evaluate", "--checkpoint", tiny_checkpoint, *options, before=BLOCKED)
    assert result.returncode == 2
    assert f"is needed to run the checkpoint {tiny_checkpoint}; install it with: pip install" in result.stderr


# --- classification -----------------------------------------------------------------------------------------------------


@pytest.fixture
def classifiers(tiny_classifier: Callable[[int], Path]) -> list[Path]:
    return [tiny_classifier(seed) for seed in (0, 1, 2)]


def test_a_classifiers_figures(classifiers: list[Path], tiny_classified: Path, tmp_path: Path) -> None:
    code, out, err = invoke("--checkpoint", classifiers[0], "--data", tiny_classified, "--json", tmp_path / "r.json")
    assert code == 0, err
    names = ["accuracy", "blood", "grass", "night", "sea", "balanced accuracy", "top-5 accuracy"]
    assert list(rows(out)) == names
    assert "24 images; majority predictor (blood): accuracy 0.2500" in err
    facts = json.loads((tmp_path / "r.json").read_text())
    assert (facts["images"], facts["count"], facts["majority_accuracy"]) == (24, 24, 0.25)
    assert 0.5 < facts["accuracy"] == pytest.approx(np.trace(facts["confusion"]) / 24)
    assert [facts["recall"][name] for name in names[1:5]] == [facts["confusion"][k][k] / 6 for k in range(4)]
    assert facts["balanced_accuracy"] == pytest.approx(facts["accuracy"]), "every class has six images"


def test_probabilities_of_several_checkpoints_are_averaged(
    classifiers: list[Path], tiny_classified: Path, tmp_path: Path
) -> None:
    from dlcv.runtime.datasets.loading import labelled_for
    from dlcv.runtime.scoring.evaluation import answer_images
    from dlcv.train.checkpoints.session import open_checkpoint

    several = [word for path in classifiers for word in ("--checkpoint", path)]
    code, out, err = invoke(*several, "--data", tiny_classified, "--json", tmp_path / "r.json")
    assert code == 0, err
    assert out.splitlines()[0].split("|")[2].strip() == "mean of 3 checkpoints"
    facts = json.loads((tmp_path / "r.json").read_text())
    assert facts["checkpoints"] == list(map(str, classifiers))
    probs = []
    for path in classifiers:
        session = open_checkpoint(path, device="cpu")
        labelled = labelled_for(session.card, tiny_classified)
        images = [labelled.image(example) for example in labelled.examples]
        probs.append([answered.answer for answered in answer_images(session, images, batch=8)])
    said = np.mean(probs, 0).argmax(1)
    assert facts["accuracy"] == pytest.approx(np.mean(said == [e.label for e in labelled.examples]))


def test_a_model_that_says_one_class_is_told(classifiers: list[Path], tiny_classified: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    from dlcv.train.checkpoints.checkpoint import load_checkpoint, save_checkpoint

    loaded = load_checkpoint(classifiers[0])
    weights = {name: weight.clone() for name, weight in loaded.weights.items()}
    weights["fc.bias"][0] += 1000
    save_checkpoint(tmp_path / "best.pt", replace(loaded, weights=weights))
    _, _, err = invoke("--checkpoint", tmp_path / "best.pt", "--data", tiny_classified)
    assert err.splitlines()[-1] == "it predicts only blood: accuracy equals the majority share"


def test_data_of_other_classes_says_both(classifiers: list[Path], tiny_classified: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(tiny_classified, tmp_path / "data"))
    (data / "night").rename(data / "dusk")
    code, out, err = invoke("--checkpoint", classifiers[0], "--data", data)
    assert (code, out) == (2, "")
    assert "the model has 4 classes (blood, grass, night, sea)" in err
    assert "has 4 (blood, dusk, grass, sea)" in err
