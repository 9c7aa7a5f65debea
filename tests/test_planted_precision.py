"""Faults of low precision, planted in checkpoints and calibration images: found, named, and repaired where they can be.

Each stands beside what happens without the protection: `--no-repair` refuses, and without the gate the files would be worse.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the export extra is not installed")
torch = pytest.importorskip("torch", reason="the export extra is not installed")

from planted_faults import changed_checkpoint  # noqa: E402

from dlcv.export.precision.calibration import int8_from_onnx  # noqa: E402
from dlcv.export.precision.layers import layers_of  # noqa: E402
from dlcv.runtime.card.reader import read_card  # noqa: E402

if TYPE_CHECKING:
    from click.testing import Result
    from torch import Tensor

FEW_IMAGES = ("--max-drop", 0.1)
"""The tiny classifier has few images, of which each is 0.04 of accuracy."""


def _scaled(weights: dict[str, Tensor], first: str, second: str, factor: float) -> None:
    """One layer so many times as large and the next so much smaller: in float32 the same network."""
    weights[f"{first}.weight"] *= factor
    weights[f"{first}.bias"] *= factor
    weights[f"{second}.weight"] /= factor


def _export(checkpoint: Path, output: Path, *options: Any) -> Result:
    from click.testing import CliRunner

    from dlcv.export.cli.export import main

    arguments = ["--checkpoint", checkpoint, "--output", output, "--format", "onnx", *options]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def _left(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.exists() else []


# --- fp16 that overflows ------------------------------------------------------------------------------------------------


@pytest.fixture
def overflowing(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return changed_checkpoint(
        tiny_checkpoint, tmp_path / "run", lambda w: _scaled(w, "features.24", "features.26", 1e6)
    )


def test_a_layer_that_overflows_fp16_is_named_and_repaired(overflowing: Path, tmp_path: Path) -> None:
    result = _export(overflowing, tmp_path / "out", "--precision", "fp16")
    assert result.exit_code == 0, result.stderr
    said = [line for line in result.stderr.splitlines() if line.startswith("restoring ")]
    assert [line.split()[1] for line in said] == ["features.24", "features.26"]
    assert all(" overflow) to fp32" in line for line in said)
    facts = json.loads((tmp_path / "out" / "fcn8s.json").read_text())
    assert "logits are NaN or infinite" in facts["repair"]["failed_without"]
    assert {layer["name"] for layer in facts["repair"]["restored"]} == {"features.24", "features.26"}
    assert facts["stages"]["onnx fp16"]["not_finite"] == facts["stages"]["onnx fp16"]["infinite"] == 0
    assert facts["stages"]["onnx fp16"]["agreement"] >= 0.995, "the bound of fp16"
    card = read_card(tmp_path / "out" / "fcn8s.onnx")
    assert "; restored to fp32: features.24, features.26" in card.proof
    layers = layers_of(onnx.load(tmp_path / "out" / "fcn8s.onnx"))
    assert {layer.name for layer in layers if layer.kind != "fp16"} == {"features.24", "features.26"}


# --- int8 ---------------------------------------------------------------------------------------------------------------


def _large_weights_of_dead_channels(weights: dict[str, Tensor]) -> None:
    """A channel before the linear layer that is always 0, with weights so large that int8 has no levels left for the others."""
    weights["conv3.weight"][0] = 0
    weights["conv3.bias"][0] = -1
    weights["fc.weight"][:, 0] = 3000 * weights["fc.weight"].abs().max()


def _uneven_channels(weights: dict[str, Tensor]) -> None:
    """Each second channel before the linear layer 1000 times as large, and its weights so much smaller."""
    weights["conv3.weight"][::2] *= 1000
    weights["conv3.bias"][::2] *= 1000
    weights["fc.weight"][:, ::2] /= 1000


INT8 = ("--model", "cnn3", "--precision", "int8", "--calibration", "min-max", *FEW_IMAGES)


def test_what_overflows_the_float16_beside_int8_is_named_and_repaired(
    tiny_classifier: Callable[[int], Path], tmp_path: Path
) -> None:
    """int8 itself holds such values, by its scales; the float16 that its layers hand on does not."""
    run = changed_checkpoint(tiny_classifier(0), tmp_path / "run", lambda w: _scaled(w, "conv1", "conv2", 1e6))
    options = (*INT8, "--rest", "fp16", "--min-share", 0.1)
    without = _export(run, tmp_path / "out", *options, "--no-repair")
    assert without.exit_code == 1, without.stderr
    result = _export(run, tmp_path / "out", *options)
    assert result.exit_code == 0, result.stderr
    facts = json.loads((tmp_path / "out" / "cnn3.json").read_text())
    assert {layer["name"] for layer in facts["repair"]["restored"]} == {"conv1", "conv2"}
    assert all(layer["overflows"] for layer in facts["repair"]["restored"])
    assert facts["stages"]["onnx int8"]["not_finite"] == 0
    proof = read_card(tmp_path / "out" / "cnn3.onnx").proof
    assert "; restored to fp32: " in proof and " of the values outside int8 in fp16" in proof
    kinds = {layer.name: layer.kind for layer in layers_of(onnx.load(tmp_path / "out" / "cnn3.onnx"))}
    assert (kinds["conv1"], kinds["conv2"], kinds["conv3"]) == ("fp32", "fp32", "int8")


def test_an_outlier_beside_float16_is_repaired_too(tiny_classifier: Callable[[int], Path], tmp_path: Path) -> None:
    outlier = changed_checkpoint(tiny_classifier(0), tmp_path / "run", _large_weights_of_dead_channels)
    result = _export(outlier, tmp_path / "out", *INT8, "--rest", "fp16")
    assert result.exit_code == 0, result.stderr
    facts = json.loads((tmp_path / "out" / "cnn3.json").read_text())
    assert [layer["name"] for layer in facts["repair"]["restored"]] == ["fc"]
    assert {x.name: x.kind for x in layers_of(onnx.load(tmp_path / "out" / "cnn3.onnx"))}["fc"] == "fp32"


def test_an_int8_layer_with_an_outlier_is_named_and_repaired(
    tiny_classifier: Callable[[int], Path], tmp_path: Path
) -> None:
    outlier = changed_checkpoint(tiny_classifier(0), tmp_path / "run", _large_weights_of_dead_channels)
    without = _export(outlier, tmp_path / "out", *INT8, "--no-repair")
    assert without.exit_code == 1, without.stderr
    assert _left(tmp_path / "out") == []
    result = _export(outlier, tmp_path / "out", *INT8)
    assert result.exit_code == 0, result.stderr
    assert any(
        line.startswith("restoring fc (Gemm, 0.0% of the multiply-adds, ") for line in result.stderr.splitlines()
    )
    facts = json.loads((tmp_path / "out" / "cnn3.json").read_text())
    assert [layer["name"] for layer in facts["repair"]["restored"]] == ["fc"]
    assert facts["repair"]["restored"][0]["snr_db"] < 20
    assert "restored to fp32: fc;" in read_card(tmp_path / "out" / "cnn3.onnx").proof
    assert facts["proof"]["onnxruntime_int8_share"] > 0.99, "the layer before it is most of the work, and still in int8"


def test_a_repair_that_takes_the_large_layer_out_of_int8_is_refused(
    tiny_classifier: Callable[[int], Path], tmp_path: Path
) -> None:
    """The linear layer needs its input in float32, and ONNX Runtime computes what gives it in float32 then: two thirds of the work."""
    uneven = changed_checkpoint(tiny_classifier(0), tmp_path / "run", _uneven_channels)
    result = _export(uneven, tmp_path / "out", *INT8)
    assert result.exit_code == 1, result.stderr
    assert _left(tmp_path / "out") == []
    assert "restoring 1 layers to fp32 did not suffice" in result.stderr.splitlines()[-1]


def test_a_calibration_on_noise_is_found_and_told(
    tiny_classifier: Callable[[int], Path], tiny_classified: Path, tmp_path: Path
) -> None:
    """Noise about grey: far from the colours of the images, so their values are cut off."""
    import cv2

    rng, noise = np.random.default_rng(0), tmp_path / "noise"
    noise.mkdir()
    for number in range(8):
        cv2.imwrite(str(noise / f"{number}.png"), rng.normal(118, 3, (48, 48, 3)).clip(0, 255).astype(np.uint8))
    options = ("--model", "cnn3", "--precision", "int8", *FEW_IMAGES)
    result = _export(tiny_classifier(0), tmp_path / "out", *options, "--calibration-data", noise)
    assert result.exit_code == 1, result.stderr
    last = result.stderr.splitlines()[-1]
    assert "no file was written" in last
    assert "layers are given values beyond their range: calibrate on images such as these (--calibration-data)" in last
    assert _left(tmp_path / "out") == []
    control = _export(tiny_classifier(0), tmp_path / "out", *options, "--calibration-data", tiny_classified)
    assert control.exit_code == 0, control.stderr


def test_without_the_gate_a_calibration_on_noise_would_lose(
    tiny_classifier: Callable[[int], Path], tiny_crops: Any, tmp_path: Path
) -> None:
    result = _export(tiny_classifier(0), tmp_path / "out", "--model", "cnn3", "--head", "logits")
    assert result.exit_code == 0, result.stderr
    proto, rng = onnx.load(tmp_path / "out" / "cnn3.onnx"), np.random.default_rng(0)
    noise = [rng.normal(118, 3, (32, 32, 3)).clip(0, 255).astype(np.uint8) for _ in range(8)]
    expected = _logits(proto, tiny_crops).argmax(1)
    assert np.mean(_logits(int8_from_onnx(proto, noise), tiny_crops).argmax(1) == expected) < 0.9
    assert np.mean(_logits(int8_from_onnx(proto, list(tiny_crops)), tiny_crops).argmax(1) == expected) >= 0.9


def _logits(proto: Any, batch: Any) -> Any:
    import onnxruntime as ort

    return ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, {"image": batch}
    )[0]
