"""Parity: passes where it should, and cannot be fooled; as a function and as `dlcv-parity`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from onnx import numpy_helper

from dlcv.benchmarks.cli.parity import main
from dlcv.benchmarks.judging.parity import EngineSide, compare, open_side, same_model
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.card.reader import read_card
from dlcv.runtime.datasets.masks.description import load_description
from dlcv.runtime.datasets.masks.pairs import find_pairs
from dlcv.runtime.datasets.masks.tiles import SegmentationSet
from dlcv.runtime.sessions import Session, open_session

DESCRIPTION = load_description("deepglobe")
BLOCKED = """
import sys
for name in ("torch", "onnx", "onnxscript", "dlcv.export"):
    sys.modules[name] = None
"""


def invoke(reference: object, candidate: object, data: object, *options: object) -> tuple[int, str, str]:
    arguments = ("--reference", reference, "--candidate", candidate, "--data", data, "--device", "cpu", *options)
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def probe(tiny_checkpoint: Path) -> Path:
    return tiny_checkpoint.parent / "probe"


@pytest.fixture(scope="module")
def stored(tiny_checkpoint: Path, tiny_onnx: Path, probe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `.reference.npz` of an export."""
    from dlcv.export.reference import reference_bytes
    from dlcv.train.checkpoints.session import open_checkpoint

    path = tmp_path_factory.mktemp("reference") / "fcn8s.reference.npz"
    with open_checkpoint(tiny_checkpoint) as session:
        card = read_card(tiny_onnx)
        path.write_bytes(reference_bytes(session, card, SegmentationSet(find_pairs(probe, DESCRIPTION), DESCRIPTION)))  # type: ignore[arg-type]
    return path


@pytest.fixture(scope="module")
def faulty(tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A graph with a planted fault: `unit` (mean 255 times too small), `constant` (one class everywhere), `bgr`."""
    folder = tmp_path_factory.mktemp("faulty")

    def plant(fault: str) -> Path:
        proto = onnx.load(tiny_onnx)
        arrays = {tensor.name: numpy_helper.to_array(tensor).copy() for tensor in proto.graph.initializer}
        if fault == "unit":
            name = next(n for n, a in arrays.items() if a.shape == (1, 3, 1, 1) and abs(a.ravel()[0] - 123.675) < 1e-3)
            arrays[name] /= 255
        elif fault == "bgr":
            name = next(n for n, a in arrays.items() if a.ndim == 4 and a.shape[1] == 3)
            arrays[name] = arrays[name][:, ::-1].copy()
        else:
            name = next(n for n, a in arrays.items() if n.endswith("score.bias"))
            arrays[name][3] += 1e4
        for tensor in proto.graph.initializer:
            if tensor.name == name:
                tensor.CopyFrom(numpy_helper.from_array(arrays[name], name))
        path = folder / f"{fault}.onnx"
        onnx.save(proto, path)
        return path

    return plant


def test_a_graph_holds_against_its_checkpoint(
    tiny_checkpoint: Path, tiny_onnx: Path, probe: Path, tmp_path: Path
) -> None:
    code, out, err = invoke(tiny_checkpoint, tiny_onnx, probe, "--json", tmp_path / "p.json")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].split("|")[2:5] == [" reference ", " candidate ", " difference "]
    assert [line.split("|")[1].strip() for line in lines[2:11]] == ["mean IoU", *DESCRIPTION.classes, "pixel accuracy"]
    assert "6 tiles, argmax agreement " in out
    assert "reference: torch " in err
    assert "candidate: OpenVINO " in err or "candidate: ONNX Runtime " in err
    assert err.splitlines()[-1].startswith("parity holds on 6 tiles: mean IoU ")
    facts = json.loads((tmp_path / "p.json").read_text())
    assert facts["passed"] is True
    assert facts["problems"] == []
    assert facts["tiles"] == 6
    assert facts["agreement"] >= 0.9999
    assert (facts["max_drop"], facts["min_agreement"]) == (0.005, 0.9999)
    assert facts["mean_iou"]["reference"] > facts["majority_mean_iou"]
    assert set(facts["iou"]) == set(DESCRIPTION.classes)
    assert facts["candidate"]["file"] == str(tiny_onnx)


@pytest.mark.parametrize("form", ["parity", "evaluate"])
def test_what_masks_mean_is_taken_from_the_checkpoint(
    form: str, tiny_checkpoint: Path, tiny_onnx: Path, probe: Path, tmp_path: Path
) -> None:
    """Whoever trained with a description of their own need not name it again."""
    from dlcv.benchmarks.judging.evaluation import run_evaluation
    from dlcv.train.checkpoints.checkpoint import load_checkpoint, save_checkpoint

    mine = replace(DESCRIPTION, name="mine", image_folder="images", mask_folder="masks", image_suffix=".jpg", mask_suffix=".png")  # fmt: skip
    save_checkpoint(tmp_path / "best.pt", replace(load_checkpoint(tiny_checkpoint), dataset=mine.to_dict()))
    for pair in find_pairs(probe, DESCRIPTION):
        for path, kind, suffix in ((pair.image, "images", ".jpg"), (pair.mask, "masks", ".png")):
            (tmp_path / "data" / kind).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, tmp_path / "data" / kind / f"{pair.name}{suffix}")
    if form == "parity":
        code, out, err = invoke(tmp_path / "best.pt", tiny_onnx, tmp_path / "data")
        assert code == 0, err
        assert "6 tiles, argmax agreement " in out
        code, _, err = invoke(tiny_onnx, tiny_onnx, tmp_path / "data")
        assert code == 2, "an engine does not know"
        assert "no pairs in" in err
    else:
        assert len(run_evaluation([tmp_path / "best.pt"], tmp_path / "data").labelled) == 6


def test_graphs_with_logits_give_their_largest_difference(
    tiny_checkpoint: Path, tiny_graph: Callable[[str], Path], probe: Path, tmp_path: Path
) -> None:
    code, out, _ = invoke(tiny_checkpoint, tiny_graph("logits"), probe, "--json", tmp_path / "p.json")
    assert code == 0
    assert "largest logit difference " in out
    # logits are of deviation 1 here; float32 sums in another order differ by about 1e-5
    assert 0 <= json.loads((tmp_path / "p.json").read_text())["logit_difference"] < 1e-3


def test_the_reference_of_an_export_serves_without_torch(
    run_command: Callable[..., Any],
    stored: Path,
    tiny_onnx: Path,
    tiny_checkpoint: Path,
    probe: Path,
    faulty: Callable[[str], Path],
) -> None:
    def run(reference: Path, candidate: Path) -> Any:
        return run_command(
            "dlcv-parity",
            "--reference",
            reference,
            "--candidate",
            candidate,
            "--data",
            probe,
            "--device",
            "cpu",
            before=BLOCKED,
        )

    result = run(stored, tiny_onnx)
    assert result.returncode == 0, result.stderr
    assert f"reference: stored answers of torch in {stored}; candidate: O" in result.stderr
    assert "parity holds on 6 tiles" in result.stderr
    assert run(stored, faulty("unit")).returncode == 1
    result = run(tiny_checkpoint, tiny_onnx)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert (
        f"is needed to run the checkpoint {tiny_checkpoint}; install it with: pip install 'dlcv-edge[train]'"
        in result.stderr
    )
    assert "take the .reference.npz beside the export" in result.stderr


def test_stored_logits_are_compared_too(stored: Path, tiny_graph: Callable[[str], Path], probe: Path) -> None:
    assert ", largest logit difference " in invoke(stored, tiny_graph("logits"), probe)[1]


@pytest.mark.parametrize("fault", ["unit", "bgr", "constant"])
def test_planted_faults_fail(
    fault: str, tiny_checkpoint: Path, faulty: Callable[[str], Path], probe: Path, tmp_path: Path
) -> None:
    code, out, err = invoke(tiny_checkpoint, faulty(fault), probe, "--json", tmp_path / "p.json")
    assert code == 1
    assert out, "the table is shown"
    last = err.splitlines()[-1]
    assert last.startswith("dlcv-parity: parity failed: mean IoU ")
    assert "; argmax agreement " in last
    facts = json.loads((tmp_path / "p.json").read_text())
    assert facts["passed"] is False
    assert facts["problems"][0].startswith("mean IoU falls by ") and "argmax agreement" in facts["problems"][1]
    assert facts["mean_iou"]["drop"] > 0.005


def test_both_bounds_are_the_users(tiny_checkpoint: Path, faulty: Callable[[str], Path], probe: Path) -> None:
    assert invoke(tiny_checkpoint, faulty("unit"), probe, "--max-drop", "1", "--min-agreement", "0")[0] == 0
    code, _, err = invoke(tiny_checkpoint, faulty("unit"), probe, "--max-drop", "1")
    assert code == 1
    assert "mean IoU falls" not in err
    assert "argmax agreement" in err


class SwappedSession(Session):
    """Gives the tiles of a batch back in another order."""

    def __init__(self, inner: Session) -> None:
        self._inner = inner
        self.card, self.description = inner.card, "swapped"

    def _run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        return {name: array[::-1] for name, array in self._inner.run(images).items()}


def test_tiles_that_change_places_in_a_batch_fail(tiny_checkpoint: Path, tiny_onnx: Path, probe: Path) -> None:
    reference = open_side([tiny_checkpoint], "cpu")
    labelled = SegmentationSet(find_pairs(probe, DESCRIPTION), DESCRIPTION)
    with open_session(tiny_onnx, device="cpu") as session:
        honest = compare(reference, EngineSide(session), labelled)
        swapped = compare(reference, EngineSide(SwappedSession(session)), labelled)
    reference.close()
    assert honest.problems(max_drop=0.005, min_agreement=0.9999) == []
    assert [text[:8] for text in swapped.problems(max_drop=0.005, min_agreement=0.9999)[:2]] == ["mean IoU", "argmax a"]


def test_a_constant_reference_is_nothing_to_compare(
    faulty: Callable[[str], Path], tiny_onnx: Path, probe: Path
) -> None:
    code, _, err = invoke(faulty("constant"), faulty("constant"), probe)
    assert code == 1
    assert "parity failed: nothing to compare: the reference predicts 1 class on 6 tiles; train it further" in err


def test_a_reference_below_the_majority_is_nothing_to_compare(tiny_onnx: Path, probe: Path, tmp_path: Path) -> None:
    import cv2

    data = shutil.copytree(probe, tmp_path / "data")
    for mask in data.glob("*_mask.png"):
        cv2.imwrite(str(mask), np.zeros((64, 64, 3), np.uint8) + np.uint8([255, 0, 0]))  # all water, as BGR
    code, _, err = invoke(tiny_onnx, tiny_onnx, data)
    assert code == 1
    assert "is not above the majority predictor's 1.0000; train it further" in err


def test_tiles_that_the_reference_does_not_know_are_left_out(
    stored: Path,
    tiny_onnx: Path,
    probe: Path,
    tmp_path: Path,
    write_tile: Callable[..., None],
    tiny_scenes: list[NDArray[np.uint8]],
) -> None:
    data = shutil.copytree(probe, tmp_path / "data")
    for k in range(4):
        write_tile(data / f"t{k}_sat.jpg", tiny_scenes[k][::-1])
    assert "2 tiles, argmax agreement" in invoke(stored, tiny_onnx, data)[1]
    for k in (4, 5):
        write_tile(data / f"t{k}_sat.jpg", tiny_scenes[k][::-1])
    code, _, err = invoke(stored, tiny_onnx, data, "--json", tmp_path / "p.json")
    assert code == 1
    assert "parity failed: nothing to compare: none of the 6 tiles of " in err
    facts = json.loads((tmp_path / "p.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert facts["tiles"] == 0
    assert facts["agreement"] is None


def test_stored_answers_cannot_be_the_candidate(stored: Path, tiny_onnx: Path, probe: Path) -> None:
    code, out, err = invoke(tiny_onnx, stored, probe)
    assert (code, out) == (2, "")
    assert err.endswith("holds stored answers and can be the reference only; name an engine or a checkpoint\n")


def test_other_classes_are_refused(tiny_onnx: Path, probe: Path) -> None:
    code, out, err = invoke(tiny_onnx, tiny_onnx, probe, "--dataset", "dubai512")
    assert (code, out) == (2, "")
    assert "the model has 7 classes (urban, " in err
    assert "the dataset dubai512 has 6 (building, " in err


def test_what_cannot_be_opened_is_one_line_and_exit_2(
    tiny_onnx: Path, probe: Path, tmp_path: Path, stored: Path
) -> None:
    (tmp_path / "cut.npz").write_bytes(stored.read_bytes()[:200])
    for reference, data, message in (
        (tmp_path / "no.pt", probe, "no.pt does not exist"),
        (tmp_path / "cut.npz", probe, "cut.npz is damaged"),
        (tiny_onnx, tmp_path / "none", "there is no folder"),
    ):
        code, out, err = invoke(reference, tiny_onnx, data)
        assert (code, out) == (2, "")
        assert message in err
        assert err.splitlines()[-1].startswith("dlcv-parity: ")


def test_sides_of_different_checkpoints_are_told(tiny_card: ModelCard) -> None:
    first, second = tiny_card.changed(checkpoint_sha256="a"), tiny_card.changed(checkpoint_sha256="b")
    assert same_model(first, first) is None
    assert same_model(tiny_card, first) is None, "a checkpoint does not know its own hash"
    assert "different checkpoints" in (same_model(first, second) or "")
    assert "fcn8s and fcn32s" in (same_model(first, first.changed(model="fcn32s")) or "")
    assert "fcn8s and 3 of fcn8s" in (same_model(first, first.changed(members=3)) or "")


def test_a_session_that_computes_in_less_is_held_to_the_bound_of_that(
    tiny_checkpoint: Path, tiny_onnx: Path, probe: Path, tmp_path: Path
) -> None:
    openvino = pytest.importorskip("openvino")
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU computes no bf16")
    # the tiny model is not trained: its logits lie near each other, and mean IoU moves by 0.01
    less = ("--compute", "bf16", "--max-drop", 0.05, "--json", tmp_path / "p.json")
    code, _, err = invoke(tiny_checkpoint, tiny_onnx, probe, *less)
    facts = json.loads((tmp_path / "p.json").read_text())
    assert (code, facts["min_agreement"]) == (0, 0.98), err
    assert facts["candidate"]["run_by"].endswith(", in bf16") and "torch" in facts["reference"]["run_by"]
    assert facts["agreement"] < 0.9999, "otherwise nothing was computed in less"
    code, _, err = invoke(tiny_checkpoint, tiny_onnx, probe, *less, "--min-agreement", 0.9999)
    assert code == 1 and "is below 0.9999" in err
    code, _, err = invoke(tiny_checkpoint, tiny_checkpoint, probe, *less)
    assert code == 2 and err.splitlines()[-1].endswith(
        "runs in torch in float32; --session and --compute are for engines"
    )
