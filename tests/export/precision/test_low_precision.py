"""`dlcv-export --precision`: what it writes, what proves it, and what it refuses to write."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from dlcv.export.builders.build import build_plan
from dlcv.export.builders.options import BuildOptions
from dlcv.export.precision.low_precision import PrecisionSettings
from dlcv.export.precision.proof import prove
from dlcv.runtime.card.reader import read_card
from dlcv.runtime.errors import UsageError
from dlcv.runtime.scoring.comparison import Comparison
from dlcv.runtime.sessions import open_session
from dlcv.train.checkpoints.checkpoint import load_checkpoint, save_checkpoint

Export = Callable[..., Any]
FEW_IMAGES = ("--max-drop", 0.1)
"""The tiny classifier has few images, of which each is 0.04 of accuracy."""


def test_a_segmentation_export_is_proven_and_scored_at_each_stage(export: Export, tiny_checkpoint: Path, tmp_path: Path) -> None:  # fmt: skip
    precision = "fp16"
    result = export("--checkpoint", tiny_checkpoint, "--precision", precision, "--format", "onnx", "--output", tmp_path)
    assert result.exit_code == 0, result.stderr
    card, facts = read_card(tmp_path / "fcn8s.onnx"), json.loads((tmp_path / "fcn8s.json").read_text())
    assert card.precision == precision and card.proof == facts["proof"]["sentence"]
    assert card == read_card(tmp_path / "fcn8s.json")
    assert facts["proof"]["multiply_adds"] == {precision: sum(facts["proof"]["multiply_adds"].values())}
    in_openvino = facts["stages"].pop(f"onnx {precision} in OpenVINO", None)
    assert (in_openvino is not None) == ("OpenVINO" in card.proof)
    assert in_openvino is None or in_openvino["agreement"] >= 0.99
    assert list(facts["stages"]) == ["onnx fp32", f"onnx {precision}"]
    first, last = facts["stages"].values()
    assert first["agreement"] >= 0.9999
    assert last["not_finite"] == 0 and last["tiles"] == 6
    assert {"reference", "candidate", "drop"} <= set(last["mean_iou"])
    assert "  mean IoU  agreement  logits by     NaN     Inf  furthest class\n" in result.stderr
    assert prove(onnx.load(tmp_path / "fcn8s.onnx"), precision).problems() == []
    with open_session(tmp_path / "fcn8s.onnx", device="cpu") as session:
        assert session.run(np.zeros((2, 64, 64, 3), np.uint8))["mask"].dtype == np.uint8


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_a_classifier_in_each_precision_and_its_plan(precision: str, export: Export, tiny_classifier: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    if precision == "fp16":
        monkeypatch.setattr(Comparison, "not_shown", lambda self, max_drop: "accuracy falls")
    options = ("--precision", precision, "--format", "onnx", "--output", tmp_path, *FEW_IMAGES)
    result = export("--model", "cnn3", "--checkpoint", tiny_classifier(0), *options)
    assert result.exit_code == 0, result.stderr
    path = tmp_path / "cnn3.onnx"
    proto, card = onnx.load(path), read_card(path)
    assert proto.opset_import[0].version == (22 if precision == "bf16" else 18)
    assert {v.type.tensor_type.elem_type for v in (*proto.graph.input, *proto.graph.output)} == {TensorProto.UINT8, TensorProto.FLOAT}  # fmt: skip
    facts = json.loads((tmp_path / "cnn3.json").read_text())
    assert facts["proof"]["share"] >= 0.9
    assert (("; drop not shown: accuracy " in card.proof), "drop_not_shown" in facts) == (precision == "fp16",) * 2
    if precision == "int8":
        assert facts["calibration"] == {"method": "percentile", "source": "those verified on", "images": 24, "also_verified_on": 24}  # fmt: skip
        assert "better name training images with --calibration-data DIR" in result.stderr
    if precision == "bf16":
        assert "on a CPU does not run it" in card.proof
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheels for this Python")
    options = BuildOptions("tensorrt-rtx", max_batch=2, compute_capabilities=("8.6",))
    report = build_plan(path, tmp_path / "x.plan", card=card, options=options)
    plans = read_card(report.path)
    assert plans.precision == precision
    assert plans.proof == f"types of the strongly typed network as parsed: 100.0% in {precision}", "not what a CPU does"


def test_layers_that_overflow_fp16_and_are_too_much_to_restore(export: Export, tiny_checkpoint: Path, tmp_path: Path) -> None:  # fmt: skip
    """One layer 30,000 times as large and the next so much smaller: in float32 the same network. The two are 40 % of the work."""
    run, out = tmp_path / "run", tmp_path / "out"
    shutil.copytree(tiny_checkpoint.parent, run)
    good = load_checkpoint(tiny_checkpoint)
    weights = {name: tensor.clone() for name, tensor in good.weights.items()}
    for name, factor in (("features.0.weight", 3e4), ("features.0.bias", 3e4), ("features.2.weight", 1 / 3e4)):
        weights[name] *= factor
    save_checkpoint(run / "best.pt", replace(good, weights=weights))
    options = ("--checkpoint", run / "best.pt", "--format", "onnx", "--output", out)
    result = export(*options, "--precision", "fp16")
    assert result.exit_code == 1, result.stderr
    last = result.stderr.splitlines()[-1]
    assert "logits are NaN or infinite" in last
    assert "guilty: features.0 (Conv, 10.9% of the multiply-adds, values up to " in last
    assert "to restore these, 40.0% of the multiply-adds must leave the precision and 5.0% may" in last
    assert last.endswith("allow more with --min-share or --max-drop, or take another --precision")
    assert os.listdir(out) == [] if out.exists() else True
    control = export(*options)
    assert control.exit_code == 0, control.stderr


def test_int8_that_says_something_else_leaves_no_file(export: Export, tiny_checkpoint: Path, tmp_path: Path) -> None:
    """The tiny network's weights are random, its logits near each other: more than int8 can keep apart."""
    result = export("--checkpoint", tiny_checkpoint, "--precision", "int8", "--format", "onnx", "--output", tmp_path)
    assert result.exit_code == 1, result.stderr
    assert "no file was written: argmax agreement 0.9" in result.stderr.splitlines()[-1]
    assert os.listdir(tmp_path) == []


def test_too_small_a_share_leaves_no_file(export: Export, tiny_checkpoint: Path, tmp_path: Path) -> None:
    """bfloat16 keeps transposed convolutions in float32, which in so narrow a network are a good part of the work."""
    options = ("--checkpoint", tiny_checkpoint, "--format", "onnx", "--output", tmp_path)
    result = export(*options, "--precision", "bf16", "--min-share", 0.99)
    assert result.exit_code == 1, result.stderr
    said = result.stderr.splitlines()[-1]
    assert said.startswith("dlcv-export: the graph is not in bf16, no file was written: ")
    assert "ConvTranspose, fp32" in said
    assert os.listdir(tmp_path) == []


def test_settings_out_of_range_are_told() -> None:
    for changed, sentence in (
        ({"precision": "fp8"}, "unknown precision 'fp8'"),
        ({"calibration": "mean"}, "calibrations: entropy, percentile, min-max"),
        ({"calibration_data": Path("x")}, "--calibration-data is for --precision int8; fp32 needs none"),
        ({"min_share": 1.5}, "--min-share 1.5 is not a share from 0 to 1"),
    ):
        with pytest.raises(UsageError, match=sentence):
            PrecisionSettings(**changed).check()  # type: ignore[arg-type]
