"""`inspect_file` on each kind of file, beside its sidecar, and on files that are something else."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from dlcv.runtime.card.card import ModelCard, SizeRange
from dlcv.runtime.errors import CardError, DlcvError, EngineError
from dlcv.runtime.inspection import Port, inspect_file
from dlcv.runtime.inspection.report import inspection_text


@pytest.fixture
def plan(tmp_path: Path, tiny_card: ModelCard) -> Path:
    head = b"vtrt" + bytes(20) + bytes((1, 7, 1, 116)) + bytes(4) + struct.pack("<I", 0b1100)
    card = tiny_card.changed(head="probs", max_batch=16).to_json().encode()
    (tmp_path / "a.plan").write_bytes(head + bytes(100) + b"dlcv1:" + card + bytes(100))
    return tmp_path / "a.plan"


def sidecar(path: Path, card: ModelCard, **files: str) -> Path:
    path.write_text(json.dumps({"card": card.to_dict(), "files": {n: {"sha256": h} for n, h in files.items()}}))
    return path


def test_a_graph(tiny_onnx: Path, tiny_card: ModelCard) -> None:
    found = inspect_file(tiny_onnx)
    assert (found.kind, found.bytes, found.sidecar) == ("onnx", tiny_onnx.stat().st_size, "none")
    assert found.sha256 == hashlib.sha256(tiny_onnx.read_bytes()).hexdigest()
    assert found.card is not None and found.card.classes == tiny_card.classes
    assert found.ports_from == "graph"
    assert found.built_by["producer"].startswith("dlcv ")


def test_a_plan_without_its_library(plan: Path) -> None:
    found = inspect_file(plan)
    assert found.inputs == (Port("image", "uint8", ("N", 64, 64, 3)),)
    assert found.outputs == (Port("probs", "float32", ("N", 7, 64, 64)),)
    assert found.ports_from == "card"
    assert found.details["compute_capabilities"] == ["8.6", "8.9"]
    assert found.built_by["builder"] == "TensorRT-RTX 1.7.1.116"
    text = inspection_text(found)
    assert "8.6 (RTX 30), 8.9 (RTX 40, L4, L40)" in text
    assert "image uint8 (N, 64, 64, 3) (as the card says)" in text


def test_what_a_cpu_did_with_its_graph_is_no_proof_of_a_plan(plan: Path, tiny_card: ModelCard) -> None:
    """As the cards of plans said that were built before plans were asked."""
    proof = "97.0% of the graph's multiply-adds in int8; ONNX Runtime 1.31.1 runs 3 of 3 convolutions in int8; OpenVINO 2026.4.1 on CPU runs 100.0% in int8"
    card = tiny_card.changed(head="probs", precision="int8", proof=proof)
    plan.write_bytes(plan.read_bytes()[:36] + b"dlcv1:" + card.to_json().encode() + bytes(9))
    text = inspection_text(inspect_file(plan))
    assert "ONNX Runtime" not in text and "OpenVINO" not in text
    assert (
        "not asked: built before plans were asked; of its graph the card says: 97.0% of the graph's multiply-adds in int8"
        in text
    )


def test_what_a_plan_was_compiled_to_stands_in_its_sidecar(plan: Path, tiny_card: ModelCard) -> None:
    beside = plan.with_suffix(".json")
    files = {plan.name: {"sha256": hashlib.sha256(plan.read_bytes()).hexdigest()}}
    facts = {"card": tiny_card.to_dict(), "files": files, "plan": {"proof": {"sentence": "kernels: 99.1% in int8"}}}
    beside.write_text(json.dumps(facts))
    assert "kernels: 99.1% in int8 (as the sidecar says)" in inspection_text(inspect_file(plan))
    for odd in ({}, {"plan": 7}, {"plan": {"proof": []}}, {"plan": {"proof": {"sentence": 7}}}):
        beside.write_text(json.dumps({key: value for key, value in facts.items() if key != "plan"} | odd))
        assert "as the sidecar says" not in inspection_text(inspect_file(plan))
    plan.write_bytes(plan.read_bytes() + b"x")
    beside.write_text(json.dumps(facts))
    assert "as the sidecar says" not in inspection_text(inspect_file(plan)), "it is of another plan"


def test_sizes_that_vary_and_the_proof(tmp_path: Path, tiny_card: ModelCard) -> None:
    card = tiny_card.changed(
        head="probs", size_range=SizeRange((32, 32), (128, 160), 32), precision="int8", proof="97.0% in int8"
    )
    path = tmp_path / "a.plan"
    path.write_bytes(
        b"vtrt" + bytes(20) + bytes((1, 7, 1, 116)) + bytes(8) + b"dlcv1:" + card.to_json().encode() + bytes(9)
    )
    found = inspect_file(path)
    assert found.inputs == (Port("image", "uint8", ("N", "height", "width", 3)),)
    assert found.outputs == (Port("probs", "float32", ("N", 7, "height", "width")),)
    text = inspection_text(found)
    assert "32 x 32 to 128 x 160 in multiples of 32, chosen by --window" in text
    assert "97.0% in int8" in text


def test_a_checkpoint(tiny_checkpoint: Path) -> None:
    found = inspect_file(tiny_checkpoint)
    assert found.kind == "checkpoint" and found.card is not None
    short, long = inspection_text(found), inspection_text(found, tensors=True)
    assert "parameters" in short and "score.weight" not in short
    assert "| score.weight" in long
    json.dumps(found.to_dict())


def test_a_reference(tmp_path: Path, tiny_card: ModelCard) -> None:
    import zipfile

    path = tmp_path / "a.reference.npz"
    np.savez(path, mask_ab=np.zeros((4, 5), np.uint8), logits_ab=np.zeros((7, 4, 5), np.float32))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("dlcv.json", tiny_card.to_json())
    found = inspect_file(path)
    assert found.details["arrays"][0] == {"name": "mask_ab", "dtype": "uint8", "shape": [4, 5]}
    assert found.details["answers"] == 1
    sidecar(tmp_path / "a.json", tiny_card, **{path.name: found.sha256})
    assert inspect_file(path).sidecar == "matches"


def test_what_the_sidecar_says(plan: Path, tiny_card: ModelCard) -> None:
    beside = plan.with_suffix(".json")
    digest = hashlib.sha256(plan.read_bytes()).hexdigest()
    for files, state in (
        ({"a.plan": digest}, "matches"),
        ({"a.plan": "0" * 64}, "differs"),
        ({"b": digest}, "not listed"),
    ):
        sidecar(beside, tiny_card, **files)
        assert inspect_file(plan).sidecar == state
    sidecar(beside, tiny_card, **{"a.plan": digest, "gone.onnx": digest, "../../etc/passwd": digest})
    assert inspect_file(beside).details["files"] == {
        "a.plan": "matches",
        "gone.onnx": "missing",
        "../../etc/passwd": "missing",
    }


def test_a_file_without_a_card_is_described_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "foreign.plan").write_bytes(b"ftrt" + bytes(20) + bytes((10, 9, 0, 34)) + bytes(50))
    found = inspect_file(tmp_path / "foreign.plan")
    assert found.card is None and found.inputs == ()
    assert "card       none: dlcv cannot run it" in inspection_text(found)


def test_names_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    node = b"\x22\x07\x1b[2J\nRe"
    (tmp_path / "a.onnx").write_bytes(bytes([0x3A, len(node) + 2, 0x0A, len(node)]) + node)
    text = inspection_text(inspect_file(tmp_path / "a.onnx"))
    assert "\x1b" not in text and "\\x1b[2J\\nRe 1" in text


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.onnx", None, "does not exist"),
        ("a.onnx", b"", "is empty"),
        ("a.onnx", b"\xff" * 30, "is not an ONNX file, or is damaged"),
        ("a.jpg", b"\xff" * 30, "is none of what dlcv-inspect reads: an .onnx, a .plan"),
        ("a.plan", b"ftrt\0\0", "is cut short"),
        ("a.plan", b"hello world", "is not a TensorRT plan"),
        ("a.pt", b"\x80\x02}.", "it is a pickle, which is not read because reading it runs code"),
        ("a.pt", b"PK\x03\x04" + bytes(50), "is damaged"),
        ("a.npz", b"PK\x03\x04" + bytes(50), "is damaged"),
        ("a.json", b"[1]", "no dlcv model card"),
        ("a.json", b"{", "not valid JSON"),
    ],
)
def test_what_is_none_of_these_in_one_line(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises((EngineError, CardError), match=words) as caught:
        inspect_file(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_damaged_card_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.plan").write_bytes(b"ftrt" + bytes(30) + b'dlcv1:{"schema":')
    with pytest.raises(CardError, match="not valid JSON"):
        inspect_file(tmp_path / "a.plan")


def test_folders_pipes_and_devices(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    for path in (tmp_path, tmp_path / "pipe.onnx", Path("/dev/zero")):
        with pytest.raises(DlcvError, match=r"folder|not a regular file"):
            inspect_file(path)
