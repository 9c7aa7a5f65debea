"""Cards out of real files: graph, checkpoint, sidecar, plan, reference; and out of damaged ones, never a crash."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.card.reader import kind_of, read_card
from dlcv.runtime.errors import CardError, DlcvError, EngineError
from dlcv.runtime.scoring.reference import read_reference


@pytest.fixture(scope="module")
def plan_bytes(tiny_card: ModelCard) -> bytes:
    """What the start of a plan looks like: the card is the network's name, in plain text among binary."""
    return (
        b"ftrt"
        + bytes(range(256)) * 4
        + b"dlcv1:"
        + tiny_card.changed(head="mask").to_json().encode()
        + b"\0\xff" * 500
    )


@pytest.fixture(scope="module")
def reference_bytes(tiny_card: ModelCard) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, mask_ab=np.zeros((4, 5), np.uint8), logits_ab=np.zeros((7, 4, 5), np.float32))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("dlcv.json", tiny_card.to_json())
    return buffer.getvalue()


@pytest.mark.parametrize("head", ["mask", "probs", "logits"])
def test_of_an_exported_graph(tiny_graph, tiny_card: ModelCard, head: str) -> None:  # type: ignore[no-untyped-def]
    card = read_card(tiny_graph(head))
    assert card == tiny_card.changed(head=head, checkpoint_sha256=card.checkpoint_sha256)
    assert kind_of(tiny_graph(head)) == "onnx"


def test_of_a_graph_whose_card_comes_first_or_among_others(tiny_onnx: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    proto = onnx.load(tiny_onnx)
    text = proto.metadata_props[0].value
    onnx.helper.set_model_props(proto, {"a": "b" * 300, "dlcv": text, "z": ""})
    whole = proto.SerializeToString()
    proto.ClearField("metadata_props")
    card_only = onnx.ModelProto()
    onnx.helper.set_model_props(card_only, {"dlcv": text})
    for name, data in {"among": whole, "first": card_only.SerializeToString() + proto.SerializeToString()}.items():
        (tmp_path / name).write_bytes(data)
        assert read_card(tmp_path / name) == read_card(tiny_onnx)


def test_of_a_checkpoint(tiny_checkpoint: Path, tiny_card: ModelCard) -> None:
    assert kind_of(tiny_checkpoint) == "checkpoint"
    assert read_card(tiny_checkpoint) == tiny_card
    assert read_card(str(tiny_checkpoint)) == tiny_card


def test_of_a_sidecar(tmp_path: Path, tiny_card: ModelCard) -> None:
    (tmp_path / "m.json").write_text(json.dumps({"card": tiny_card.to_dict(), "more": 1}))
    assert read_card(tmp_path / "m.json") == tiny_card


def test_of_a_plan(tmp_path: Path, plan_bytes: bytes, tiny_card: ModelCard) -> None:
    (tmp_path / "m.plan").write_bytes(plan_bytes)
    assert kind_of(tmp_path / "m.plan") == "plan"
    assert read_card(tmp_path / "m.plan") == tiny_card.changed(head="mask")


def test_of_a_reference(tmp_path: Path, reference_bytes: bytes, tiny_card: ModelCard) -> None:
    path = tmp_path / "m.reference.npz"
    path.write_bytes(reference_bytes)
    assert kind_of(path) == "reference"
    assert read_card(path) == tiny_card
    reference = read_reference(path)
    assert reference.answers["ab"].shape == (4, 5)
    assert reference.logits["ab"].shape == (7, 4, 5)


def test_files_without_a_card(tmp_path: Path, tiny_onnx: Path) -> None:
    onnx = pytest.importorskip("onnx")
    proto = onnx.load(tiny_onnx)
    proto.ClearField("metadata_props")
    (tmp_path / "bare.onnx").write_bytes(proto.SerializeToString())
    (tmp_path / "bare.plan").write_bytes(b"vtrt" + bytes(99))
    (tmp_path / "bare.json").write_text('{"a": 1}')
    with zipfile.ZipFile(tmp_path / "bare.pt", "w") as archive:
        archive.writestr("archive/data.pkl", "x")
    np.savez(tmp_path / "bare.npz", a=np.zeros(3))
    for path in sorted(tmp_path.iterdir()):
        remedy = "take a best.pt of dlcv-train" if path.suffix == ".pt" else "export it with: dlcv-export"
        known = f"^{path} carries no dlcv model card, so its classes and normalisation are unknown; {remedy}"
        with pytest.raises(CardError, match=known):
            read_card(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "folder.onnx").mkdir()
    for name, message in {
        "no.onnx": "does not exist; make it with: dlcv-export --model NAME",
        "empty.onnx": "is empty; export the model again",
        "folder.onnx": "is a folder; expected a file: an .onnx, a .plan or a checkpoint",
    }.items():
        with pytest.raises(EngineError, match=f"{name} {message}$"):
            read_card(tmp_path / name)


def test_a_reference_with_something_else_in_it(tmp_path: Path, tiny_card: ModelCard) -> None:
    path = tmp_path / "m.npz"
    np.savez(path, mask_ab=np.zeros((4, 5), np.float32))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("dlcv.json", tiny_card.to_json())
    with pytest.raises(EngineError, match=r"m\.npz is not a reference of dlcv-export; export the model again"):
        read_reference(path)


@pytest.fixture(scope="module")
def small_onnx(tiny_onnx: Path) -> bytes:
    """A graph with a card of little more than the card, so that damage hits what is read."""
    onnx = pytest.importorskip("onnx")
    proto = onnx.load(tiny_onnx)
    del proto.graph.initializer[:]
    del proto.graph.node[2:]
    return proto.SerializeToString()


@pytest.mark.parametrize("kind", ["onnx", "pt", "plan", "npz", "json"])
def test_damaged_files_give_a_sentence_or_a_card(
    kind: str, tmp_path: Path, small_onnx: bytes, plan_bytes: bytes, reference_bytes: bytes, tiny_card: ModelCard
) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("best/dlcv.json", tiny_card.to_json())
    whole = {
        "onnx": small_onnx, "pt": archive.getvalue(), "plan": plan_bytes, "npz": reference_bytes,
        "json": json.dumps({"card": tiny_card.to_dict()}).encode(),
    }[kind]  # fmt: skip
    path = tmp_path / f"m.{kind}"
    rng = np.random.default_rng(3)
    refused: list[str] = []
    for attempt in range(400):
        data = bytearray(whole)
        if attempt % 4 == 0:
            del data[int(rng.integers(0, len(data))) :]
        else:
            for place in rng.integers(0, len(data), attempt % 4):
                data[place] = rng.integers(0, 256)
        path.write_bytes(data)
        try:
            read_reference(path) if kind == "npz" else read_card(path)
        except DlcvError as error:
            refused.append(str(error))
    assert all(str(path) in sentence for sentence in refused)
    assert len(refused) > 50, "most cuts take the card with them"


@given(st.binary(max_size=200))
def test_any_bytes_give_a_sentence(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.onnx"
    path.write_bytes(data)
    with pytest.raises(DlcvError):
        read_card(path)


@pytest.mark.parametrize(
    "data",
    [
        b"\x72\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # metadata_props of 2**70 bytes
        b"\x72\x0b\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7fx",  # a key of 2**63 bytes inside
        b"\xff" * 40,
        b"\x08" + b"\x80" * 30,
        b"\x73",
    ],
)
def test_lengths_that_lie(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(CardError, match=r"m\.onnx is not an ONNX file, or is cut short; export the model again"):
        read_card(tmp_path / "m.onnx")
