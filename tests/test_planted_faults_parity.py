"""Parity that cannot be fooled: faults planted in what is compared are found out.

Beside each fault stands its control: the same machinery without the fault passes, so that it is the fault that is found.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the export extra is not installed")
torch = pytest.importorskip("torch", reason="the export extra is not installed")
from planted_faults import (  # noqa: E402
    CONTROLS,
    NEVER,
    PLANTED,
    Plant,
    assert_failed,
    before_argmax,
    between,
    export_to,
    name_of,
    node,
    parity_of,
    plant_constant,
    plant_swap,
    planted,
    quiet_checkpoint,
)

from dlcv.runtime.card.reader import ONNX_KEY, read_card  # noqa: E402
from dlcv.runtime.scoring.comparison import Comparing  # noqa: E402

if TYPE_CHECKING:
    pass


@pytest.fixture
def quiet_class(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return quiet_checkpoint(tiny_checkpoint, tmp_path / "quiet")


@pytest.fixture(scope="module")
def reference_npz(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    result = export_to(tiny_checkpoint, folder)
    assert result.exit_code == 0, result.stderr
    return folder / "fcn8s.reference.npz"


@pytest.fixture
def references(reference_npz: Path, tiny_checkpoint: Path, tiny_onnx: Path) -> dict[str, Path]:
    return {"checkpoint": tiny_checkpoint, "npz": reference_npz, "onnx": tiny_onnx}


@pytest.mark.parametrize("reference", ["checkpoint", "npz", "onnx"])
@pytest.mark.parametrize("plant", [*CONTROLS, *PLANTED], ids=name_of)
def test_parity_finds_the_fault(plant: Plant, reference: str, references: dict[str, Path], tiny_onnx: Path, tiny_data: Path, tmp_path: Path) -> None:  # fmt: skip
    candidate = planted(tiny_onnx, tmp_path / "candidate.onnx", plant)
    result = parity_of(references[reference], candidate, tiny_data, "--json", tmp_path / "parity.json")
    facts = json.loads((tmp_path / "parity.json").read_text())
    assert facts["tiles"] == 6
    assert facts["mean_iou"]["reference"] > 2 * facts["majority_mean_iou"], "there is something to lose"
    if plant in CONTROLS:
        assert result.exit_code == 0, result.stderr
        assert facts["passed"]
        assert facts["agreement"] >= 0.9999
        return
    assert_failed(result, 1, "parity failed: ", "argmax agreement 0.")
    assert not facts["passed"]
    assert facts["agreement"] < 0.999


def test_parity_finds_tiles_swapped_in_pairs(references: dict[str, Path], tiny_onnx: Path, tiny_data: Path, tmp_path: Path) -> None:  # fmt: skip
    """A fault that shows in batches only: with a single tile there is nothing to swap, and parity passes."""
    candidate, one = planted(tiny_onnx, tmp_path / "candidate.onnx", plant_swap), tmp_path / "one"
    one.mkdir()
    for path in tiny_data.glob("t0_*"):
        shutil.copyfile(path, one / path.name)
    assert parity_of(references["npz"], candidate, one).exit_code == 0
    assert_failed(parity_of(references["npz"], candidate, tiny_data), 1, "argmax agreement")


def test_a_reference_that_always_says_one_class_is_nothing_to_compare(tiny_onnx: Path, tiny_data: Path, tmp_path: Path) -> None:  # fmt: skip
    constant = planted(tiny_onnx, tmp_path / "constant.onnx", plant_constant)
    result = parity_of(constant, constant, tiny_data)
    assert_failed(
        result, 1, "parity failed: nothing to compare: the reference predicts 1 class on 6 tiles; train it further"
    )


def test_a_reference_no_better_than_the_majority_is_nothing_to_compare(tiny_onnx: Path, tiny_data: Path, tmp_path: Path) -> None:  # fmt: skip
    """The two agree on every pixel, and are wrong on most."""
    candidate = planted(tiny_onnx, tmp_path / "swapped.onnx", _plant_other_names)
    assert_failed(parity_of(candidate, candidate, tiny_data), 1, "is not above the majority predictor's")


def _plant_other_names(proto: Any) -> None:
    """Every class is called by another's name, so that next to no pixel is right."""
    before_argmax(proto, node("Gather", "order", axis=1), order=np.roll(np.arange(7), 1))


def test_no_tile_in_common_is_nothing_to_compare(references: dict[str, Path], tiny_onnx: Path, tiny_data: Path, tmp_path: Path) -> None:  # fmt: skip
    """A stored reference knows tiles by their hash: other tiles, even under the same names, are not compared."""
    other = tmp_path / "other"
    shutil.copytree(tiny_data, other)
    for path in other.glob("*_sat.jpg"):
        path.write_bytes(path.read_bytes() + b"\0")
    assert_failed(parity_of(references["npz"], tiny_onnx, other), 1, "nothing to compare: none of the 6 tiles of ")
    assert parity_of(references["checkpoint"], tiny_onnx, other).exit_code == 0, "the control: the tiles can be read"


@pytest.mark.parametrize("fault", [True, False], ids=["nan", "control"])
def test_parity_finds_nan_in_logits(fault: bool, quiet_class: Path, tiny_graph: Callable[[str], Path], tiny_data: Path, tmp_path: Path) -> None:  # fmt: skip
    """A graph with logits whose one class is NaN where the reference never says it."""
    proto = onnx.load(tiny_graph("logits"))
    if fault:
        maker = next(node for node in proto.graph.node if "logits" in node.output)
        maker.output[0] = "raw"
        nan = np.zeros((7, 1, 1), np.float32)
        nan[NEVER] = np.nan
        between(proto, len(proto.graph.node), "logits", (node("Add", "nan"),), {"nan": nan})
    candidate = tmp_path / "candidate.onnx"
    onnx.save(proto, candidate)
    result = parity_of(tiny_graph("logits"), candidate, tiny_data, "--min-agreement", 0, "--max-drop", 1)
    if fault:
        assert_failed(result, 1, "logits are NaN or infinite")
    else:
        assert result.exit_code == 0, result.stderr


def test_a_comparison_counts_what_is_not_finite() -> None:
    comparing = Comparing("segmentation", ("a", "b"))
    comparing.add_logits(np.array([1, np.nan, 3], np.float32), np.array([1.5, 2, np.inf], np.float32))
    comparing.add_logits(np.array([1], np.float32), np.array([1.25], np.float32))
    found = comparing.result()
    assert (found.not_finite, found.logit_difference) == (2, 0.5)


def test_a_graph_of_another_size_is_compared_on_its_own_windows(tiny_checkpoint: Path, tiny_graph: Callable[[str], Path], tiny_data: Path, tmp_path: Path) -> None:  # fmt: skip
    """The checkpoint takes the candidate's input size: at its own, other padding would count as disagreement."""
    proto = onnx.load(tiny_graph("logits"))
    for value in (*proto.graph.input, *proto.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value == 64:
                dim.dim_value = 96
    del proto.graph.value_info[:]
    card = read_card(tiny_graph("logits")).changed(input_size_hw=(96, 96))
    onnx.helper.set_model_props(proto, {ONNX_KEY: card.to_json()})
    onnx.save(proto, tmp_path / "larger.onnx")
    result = parity_of(tiny_checkpoint, tmp_path / "larger.onnx", tiny_data, "--json", tmp_path / "parity.json")
    assert result.exit_code == 0, result.stderr
    facts = json.loads((tmp_path / "parity.json").read_text())
    assert facts["logit_difference"] < 1e-3  # sums of float32 in another order; logits are of the order of 1
