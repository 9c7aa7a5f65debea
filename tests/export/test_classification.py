"""A classifier's export from its checkpoint to its files, alone and as an ensemble."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from dlcv.export.graph import ExportGraph
from dlcv.export.onnx_from_checkpoint import check_contract
from dlcv.runtime.card.reader import read_card
from dlcv.runtime.errors import CardError, EngineError, ExportError
from dlcv.runtime.files import sha256_of
from dlcv.runtime.scoring.reference import read_reference
from dlcv.runtime.sessions import open_session
from dlcv.train.checkpoints.session import open_checkpoint

Export = Callable[..., Any]


@pytest.fixture
def checkpoint(tiny_classifier: Callable[[int], Path]) -> Path:
    return tiny_classifier(0)


@pytest.fixture(scope="module")
def engines(tiny_classifier: Callable[[int], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exports of three checkpoints, `0`, `1` and `2`, and of all three as one, `mean`; with one probe for all."""
    from click.testing import CliRunner

    from dlcv.export.cli.export import main

    folder, paths = tmp_path_factory.mktemp("engines"), [tiny_classifier(seed) for seed in (0, 1, 2)]
    for name, chosen in (*((str(k), [path]) for k, path in enumerate(paths)), ("mean", paths)):
        named = [word for path in chosen for word in ("--checkpoint", str(path))]
        arguments = ["--model", "cnn3", *named, "--format", "onnx", "--output", str(folder / name)]
        result = CliRunner().invoke(main, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.stderr
        (folder / f"{name}.txt").write_text(result.stderr)
    return folder


@pytest.fixture
def batch(tiny_crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return tiny_crops


def test_the_files_and_what_is_said(engines: Path, checkpoint: Path) -> None:
    assert sorted(os.listdir(engines / "0")) == ["cnn3.json", "cnn3.onnx", "cnn3.reference.npz"]
    said = (engines / "0.txt").read_text()
    assert "to ONNX: cnn3, width 0.1, 32 x 32, head probs\n" in said
    assert "verified on 24 images: argmax agreement 1.000000, " in said
    facts = json.loads((engines / "0" / "cnn3.json").read_text())
    assert facts["verification"]["images"] == 24
    assert facts["verification"]["head_is_argmax"] == 1
    assert facts["verification"]["probability_difference"] < 1e-5  # float32 roundings of values up to 1
    assert facts["verification"]["predicted_classes"] >= 3
    card = read_card(engines / "0" / "cnn3.onnx")
    assert (card.head, card.members, card.fit, card.short_side) == ("probs", 1, "centre-crop", 36)
    assert card.checkpoint_sha256 == sha256_of(checkpoint)


@pytest.mark.parametrize("count", [1, 8])
def test_the_graph_gives_torchs_probabilities(count: int, engines: Path, checkpoint: Path, batch: NDArray[np.uint8]) -> None:  # fmt: skip
    with open_session(engines / "0" / "cnn3.onnx", device="cpu") as session:
        found = session.run(batch[:count])
    assert list(found) == ["probs"]
    assert found["probs"].dtype == np.float32 and found["probs"].shape == (count, 4)
    np.testing.assert_allclose(found["probs"].sum(1), 1, rtol=0, atol=1e-6)
    expected = open_checkpoint(checkpoint, device="cpu").run(batch[:count])["probs"]
    np.testing.assert_allclose(found["probs"], expected, rtol=0, atol=1e-5)


def test_an_ensembles_graph_gives_the_mean_of_its_members(engines: Path, batch: NDArray[np.uint8], tiny_classifier: Callable[[int], Path]) -> None:  # fmt: skip
    def probs(name: str) -> NDArray[np.float32]:
        with open_session(engines / name / "cnn3.onnx", device="cpu") as session:
            found: NDArray[np.float32] = session.run(batch)["probs"]
        return found

    single = [probs(str(k)) for k in range(3)]
    assert np.abs(single[0] - single[1]).max() > 0.01, "the members differ"
    np.testing.assert_allclose(probs("mean"), np.mean(single, 0), rtol=0, atol=1e-5)  # float32 roundings
    card, sidecar = read_card(engines / "mean" / "cnn3.onnx"), json.loads((engines / "mean" / "cnn3.json").read_text())
    assert card.members == sidecar["card"]["members"] == 3
    assert card.checkpoint_sha256 not in {sha256_of(tiny_classifier(k)) for k in range(3)} | {""}
    assert "head probs, the mean of 3 checkpoints\n" in (engines / "mean.txt").read_text()


def test_an_ensemble_of_segmentation_models(export: Export, tiny_checkpoint: Path, tiny_scenes: Any, tmp_path: Path) -> None:  # fmt: skip
    from dataclasses import replace

    from dlcv.train.checkpoints.checkpoint import load_checkpoint, save_checkpoint

    loaded = load_checkpoint(tiny_checkpoint)
    weights = {name: weight * 0.9 for name, weight in loaded.weights.items()}
    save_checkpoint(tmp_path / "other.pt", replace(loaded, weights=weights))
    paths, out = [tiny_checkpoint, tmp_path / "other.pt"], tmp_path / "out"
    named = [word for path in paths for word in ("--checkpoint", path)]
    result = export(*named, "--format", "onnx", "--head", "probs", "--output", out)
    assert result.exit_code == 0, result.stderr
    batch, single = np.stack(tiny_scenes), []
    for path in paths:
        logits = open_checkpoint(path, device="cpu").run(batch)["logits"].astype(np.float64)
        powers = np.exp(logits - logits.max(1, keepdims=True))
        single.append(powers / powers.sum(1, keepdims=True))
    assert np.abs(single[0] - single[1]).max() > 0.01, "the members differ"
    with open_session(out / "fcn8s.onnx", device="cpu") as session:
        found = session.run(batch)["probs"]
    np.testing.assert_allclose(found, np.mean(single, 0), rtol=0, atol=1e-4)  # deep float32 sums in another order
    assert read_card(out / "fcn8s.onnx").members == 2


def test_the_reference_holds_torchs_probabilities(engines: Path, checkpoint: Path, tiny_classified: Path) -> None:
    reference = read_reference(engines / "0" / "cnn3.reference.npz")
    assert reference.card == read_card(engines / "0" / "cnn3.onnx")
    assert set(reference.answers) == {sha256_of(path) for path in tiny_classified.rglob("*.png")}
    assert all(a.shape == (4,) and a.dtype == np.float32 for a in reference.answers.values())
    assert len(reference.logits) == 4
    for digest, logits in reference.logits.items():
        powers = np.exp(logits - logits.max())
        np.testing.assert_allclose(reference.answers[digest], powers / powers.sum(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "member",
    [
        np.full(4, 0.25, np.float64),
        np.full(3, 0.25, np.float32),
        np.full((1, 4), 0.25, np.float32),
        np.array([0.5, 0.5, np.nan, 0], np.float32),
        np.array([2, -1, 0, 0], np.float32),
    ],
    ids=["float64", "three classes", "two axes", "nan", "no probabilities"],
)
def test_arrays_that_are_no_probabilities_are_refused(member: Any, engines: Path, tmp_path: Path) -> None:
    import io
    import zipfile

    def made(**members: Any) -> Path:
        path = tmp_path / "x.reference.npz"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("dlcv.json", read_card(engines / "0" / "cnn3.onnx").to_json())
            for name, array in members.items():
                buffer = io.BytesIO()
                np.save(buffer, array)
                archive.writestr(f"{name}.npy", buffer.getvalue())
        return path

    good, logits = np.full(4, 0.25, np.float32), np.zeros(4, np.float32)
    assert len(read_reference(made(probs_a=good, logits_a=logits)).answers) == 1, "the control"
    message = r"is not a reference of dlcv-export; export the model again"
    with pytest.raises(EngineError, match=message):
        read_reference(made(probs_a=member))
    with pytest.raises(EngineError, match=message):
        read_reference(made(probs_a=good, logits_a=logits + np.float32(np.nan)))
    with pytest.raises(EngineError, match=message):
        read_reference(made(mask_a=np.zeros((4, 4), np.uint8)))


def test_logits_can_be_asked_for_and_a_mask_cannot(export: Export, checkpoint: Path, batch: NDArray[np.uint8], tmp_path: Path) -> None:  # fmt: skip
    named = ("--model", "cnn3", "--checkpoint", checkpoint, "--output", tmp_path / "out", "--format", "onnx")
    result = export(*named, "--head", "mask")
    assert result.exit_code == 2
    assert result.stderr == "dlcv-export: --head mask is for segmentation; cnn3 classifies images: take probs, which is the default, or logits\n"  # fmt: skip
    assert not (tmp_path / "out").exists()
    result = export(*named, "--head", "logits")
    assert result.exit_code == 0, result.stderr
    with open_session(tmp_path / "out" / "cnn3.onnx", device="cpu") as session:
        found = session.run(batch)["logits"]
    expected = open_checkpoint(checkpoint, device="cpu").run(batch)["logits"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * float(np.abs(expected).max()))


def test_the_size_takes_the_short_side_with_it(export: Export, checkpoint: Path, tmp_path: Path) -> None:
    named = ("--model", "cnn3", "--checkpoint", checkpoint, "--output", tmp_path, "--format", "onnx")
    result = export(*named, "--size", 64, 48)
    assert result.exit_code == 0, result.stderr
    card = read_card(tmp_path / "cnn3.onnx")
    assert (card.input_size_hw, card.short_side) == ((64, 48), 72), "36 of 32 is 72 of 64"


def test_data_may_be_named(export: Export, checkpoint: Path, tiny_classified: Path, tmp_path: Path) -> None:
    alone, data = tmp_path / "best.pt", Path(shutil.copytree(tiny_classified, tmp_path / "data"))
    shutil.copyfile(checkpoint, alone)
    out = tmp_path / "out"
    named = ("--model", "cnn3", "--checkpoint", alone, "--output", out, "--format", "onnx")
    result = export(*named)
    assert result.exit_code == 2
    assert "pass labelled" in result.stderr
    first = sorted((data / "blood").iterdir())[0]
    shutil.copyfile(first, data / "blood" / "again.png")  # the same image twice is one answer of the reference
    result = export(*named, "--data", data)
    assert result.exit_code == 0, result.stderr
    assert "verified on 25 images" in result.stderr
    assert len(read_reference(out / "cnn3.reference.npz").answers) == 24
    first.write_bytes(b"no image")
    result = export(*named, "--data", data)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].endswith("; verification needs images that can be read")


def test_checkpoints_kept_for_an_ensemble_share_the_runs_probe(export: Export, checkpoint: Path, tmp_path: Path) -> None:  # fmt: skip
    run = Path(shutil.copytree(checkpoint.parent, tmp_path / "run"))
    (run / "kept").mkdir()
    (run / "best.pt").rename(run / "kept" / "epoch-0003.pt")
    named = ("--model", "cnn3", "--checkpoint", run / "kept" / "epoch-0003.pt", "--output", tmp_path / "out")
    result = export(*named, "--format", "onnx")
    assert result.exit_code == 0, result.stderr


def test_a_plan_of_a_classifier(export: Export, checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheels for this Python")
    named = ("--model", "cnn3", "--checkpoint", checkpoint, "--output", tmp_path, "--format", "plan", "--max-batch", 4)
    result = export(*named, "--builder", "tensorrt-rtx")
    assert result.exit_code == 0, result.stderr
    card = read_card(tmp_path / "cnn3.plan")
    assert (card.task, card.head, card.max_batch, card.classes) == (
        "classification", "probs", 4, ("blood", "grass", "night", "sea"),
    )  # fmt: skip


# --- faults -------------------------------------------------------------------------------------------------------------


def _probs(graph: ExportGraph, image: torch.Tensor, flip: bool = False, unit: float = 1.0, factor: float = 1.0) -> Any:
    x = image.to(torch.float32)
    x = (x.flip(-1) if flip else x).permute(0, 3, 1, 2).contiguous()
    return (factor * graph.network((x - graph.mean / unit) / (graph.std / unit))).softmax(1)


FAULTS = {
    "none": ({}, ""),
    "bgr": ({"flip": True}, "argmax agreement 0."),
    "unit": ({"unit": 255.0}, "argmax agreement 0."),
    "temperature": ({"factor": 1.25}, "largest probability difference 0."),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_export_finds_the_fault_and_writes_nothing(fault: str, export: Export, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    values, sentence = FAULTS[fault]
    monkeypatch.setattr(ExportGraph, "forward", lambda graph, image: _probs(graph, image, **values))
    result = export("--model", "cnn3", "--checkpoint", checkpoint, "--output", tmp_path, "--format", "onnx")
    if fault == "none":
        assert result.exit_code == 0, result.stderr
        return
    assert result.exit_code == 1
    assert "verification failed on 24 images, no file was written: " in result.stderr
    assert sentence in result.stderr
    assert os.listdir(tmp_path) == []


def test_probabilities_that_are_off_show_where_the_class_does_not(engines: Path, checkpoint: Path, batch: NDArray[np.uint8]) -> None:  # fmt: skip
    """A fault in the head alone leaves the logits, and which class is largest, as they are."""
    from dlcv.export.verify import verify_graph

    proto, card = onnx.load(engines / "0" / "cnn3.onnx"), read_card(engines / "0" / "cnn3.onnx")
    session = open_checkpoint(checkpoint, device="cpu")
    assert verify_graph(proto, card, session, list(batch)).problems() == [], "the control"
    softmax = next(node for node in proto.graph.node if node.op_type == "Softmax")
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.9), "less"))
    softmax.output[0] = "whole"
    proto.graph.node.append(onnx.helper.make_node("Mul", ["whole", "less"], ["probs"]))
    found = verify_graph(proto, card, session, list(batch))
    assert found.head_is_argmax == 1 and found.agreement == 1
    assert found.probability_difference is not None and found.probability_difference > 0.02
    assert any(text.startswith("largest probability difference 0.") for text in found.problems())


def test_the_contract_names_a_wrong_shape(engines: Path) -> None:
    proto, card = onnx.load(engines / "0" / "cnn3.onnx"), read_card(engines / "0" / "cnn3.onnx")
    check_contract(proto, card)
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 5
    with pytest.raises(ExportError, match=r"output shape \[batch, 5\], expected \[N, 4\] with N dynamic"):
        check_contract(proto, card)


def test_a_card_refuses_a_mask_for_classification(engines: Path) -> None:
    with pytest.raises(CardError, match="head mask, expected probs or logits for classification"):
        read_card(engines / "0" / "cnn3.onnx").changed(head="mask")
