"""What `dlcv-inspect` tells of signatures, of files outside and of other domains."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from dlcv.runtime.cli.inspect import main
from dlcv.runtime.errors import UsageError
from dlcv.runtime.inspection import inspect_file
from dlcv.runtime.inspection.report import inspection_text
from dlcv.runtime.inspection.signed import signature_state

VECTORS = Path(__file__).parent.parent / "provenance/vectors"
KEY_ID, OTHER_ID = "75F2CBCF007A6432", "42E56EFA15218B5C"


@pytest.fixture
def graph(tiny_onnx: Path, tmp_path: Path) -> Path:
    return Path(shutil.copyfile(tiny_onnx, tmp_path / "a.onnx"))


def test_without_a_key_the_signature_is_a_claim() -> None:
    assert signature_state(VECTORS / "signed.txt") == {"state": "not checked", "key": KEY_ID}
    assert signature_state(VECTORS / "key.pub") == {"state": "none"}


def test_with_a_key_it_holds_or_fails() -> None:
    pytest.importorskip("minisign", reason="the sign extra is not installed")
    key = str(VECTORS / "key.pub")
    held = {"state": "verified", "key": KEY_ID, "comment": "file:signed.txt, a test vector"}
    assert signature_state(VECTORS / "signed.txt", key) == held
    for name, problem in {"of-other.txt": f"signed with the key {OTHER_ID}", "key.pub": "is not signed"}.items():
        found = signature_state(VECTORS / name, key)
        assert found["state"] == "fails" and problem in found["problem"]
    with pytest.raises(UsageError, match="is neither a public key"):
        signature_state(VECTORS / "signed.txt", "nix")


def test_the_report_says_that_a_claim_is_not_checked(graph: Path) -> None:
    assert "signature   none beside it\n" in inspection_text(inspect_file(graph))
    shutil.copy(VECTORS / "signed.txt.minisig", graph.with_name("a.onnx.minisig"))
    claim = f"signature   claims to be of the key {KEY_ID}; not checked: pass --key\n"
    assert claim in inspection_text(inspect_file(graph))
    assert inspect_file(graph).to_dict()["signature"] == {"state": "not checked", "key": KEY_ID}


def test_a_signature_that_fails_ends_with_1(graph: Path) -> None:
    pytest.importorskip("minisign", reason="the sign extra is not installed")
    shutil.copy(VECTORS / "signed.txt.minisig", graph.with_name("a.onnx.minisig"))
    result = CliRunner().invoke(main, [str(graph), "--key", str(VECTORS / "key.pub")])
    assert result.exit_code == 1
    assert "signature   FAILS: " in result.stdout
    facts = CliRunner().invoke(main, [str(graph), "--json", "--key", str(VECTORS / "key.pub")])
    assert "was altered afterwards" in json.loads(facts.stdout)[0]["signature"]["problem"]
    assert CliRunner().invoke(main, [str(graph)]).exit_code == 0


def test_what_a_graph_takes_from_outside_stands_out(graph: Path) -> None:
    onnx = pytest.importorskip("onnx")
    proto = onnx.load(graph)
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[4], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../w.bin")
    proto.graph.initializer.append(tensor)
    proto.graph.node.append(onnx.helper.make_node("Foo", ["image"], ["y"], domain="evil.ops"))
    graph.write_bytes(proto.SerializeToString())
    text = inspection_text(inspect_file(graph))
    assert "OUTSIDE     values are in other files: ../w.bin\n" in text
    assert "DOMAINS     operators of other domains: evil.ops (Foo)\n" in text
    details = json.loads(json.dumps(inspect_file(graph).to_dict()))["details"]
    assert (details["external_files"], details["domains"]) == (["../w.bin"], {"evil.ops": ["Foo"]})
