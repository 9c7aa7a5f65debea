"""Graphs that reach outside themselves are refused before ONNX Runtime sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dlcv.runtime.card.reader import read_card
from dlcv.runtime.errors import CardError, EngineError
from dlcv.runtime.provenance.graph import check_graph
from dlcv.runtime.sessions import open_session

onnx = pytest.importorskip("onnx", reason="graphs are made with onnx")


def external(location: str) -> Any:
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[4], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def weight(proto: Any, tensor: Any) -> None:
    proto.graph.initializer.append(tensor)


def attribute(proto: Any, tensor: Any) -> None:
    proto.graph.node.append(onnx.helper.make_node("Constant", [], ["w"], value=tensor))


def sparse(proto: Any, tensor: Any) -> None:
    proto.graph.sparse_initializer.add(values=tensor, dims=[4])


def branch(proto: Any, tensor: Any) -> None:
    inner = onnx.helper.make_graph([], "inner", [], [], [tensor])
    proto.graph.node.append(onnx.helper.make_node("If", ["c"], ["w"], then_branch=inner, else_branch=inner))


def function(proto: Any, tensor: Any) -> None:
    proto.functions.add(name="f", domain="mine").node.append(onnx.helper.make_node("Constant", [], ["w"], value=tensor))


@pytest.fixture
def proto(engine: Path) -> Any:
    return onnx.load(engine)


@pytest.mark.parametrize("place", [weight, attribute, sparse, branch, function])
@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "sub/../../secret.bin", "link.bin", "", ".."])
def test_values_outside_the_folder(engine: Path, proto: Any, place: Any, location: str) -> None:
    (engine.parent.parent / "secret.bin").write_bytes(bytes(16))
    (engine.parent / "link.bin").symlink_to("../secret.bin")
    place(proto, external(location))
    engine.write_bytes(proto.SerializeToString())
    with pytest.raises(EngineError) as caught:
        open_session(engine, device="cpu")
    assert str(caught.value) == (
        f"{engine} asks for weights in {location!r}, outside its own folder; it is not of dlcv-export, "
        "which writes one file: do not use it, or export the model again"
    )


def test_values_inside_the_folder(engine: Path, proto: Any) -> None:
    weight(proto, external("sub/w.bin"))
    engine.write_bytes(proto.SerializeToString())
    check_graph(engine)


def test_an_absolute_path_into_the_folder_is_one_too_many(engine: Path, proto: Any) -> None:
    """It would leave the folder as soon as the folder is moved."""
    weight(proto, external(str(engine.parent / "w.bin")))
    engine.write_bytes(proto.SerializeToString())
    with pytest.raises(EngineError, match="outside its own folder"):
        check_graph(engine)


def test_operators_of_an_unknown_domain(engine: Path, proto: Any) -> None:
    proto.graph.node.append(onnx.helper.make_node("Foo\n", ["image"], ["y"], domain="evil.ops"))
    engine.write_bytes(proto.SerializeToString())
    with pytest.raises(EngineError) as caught:
        open_session(engine, device="cpu")
    assert str(caught.value) == (
        f"{engine} needs operators that no library here has: evil.ops (Foo\\n); dlcv loads no operator libraries: "
        "export the model with operators of ONNX"
    )


def test_known_domains_and_the_files_own_functions_are_no_error(engine: Path, proto: Any) -> None:
    proto.graph.node.append(onnx.helper.make_node("Gelu", ["image"], ["y"], domain="com.microsoft"))
    proto.graph.node.append(onnx.helper.make_node("Mine", ["image"], ["z"], domain="my.functions"))
    proto.functions.add(name="Mine", domain="my.functions")
    engine.write_bytes(proto.SerializeToString())
    check_graph(engine)
    proto.functions[0].name = "Another"
    engine.write_bytes(proto.SerializeToString())
    with pytest.raises(EngineError, match=r"my\.functions \(Mine\)"):
        check_graph(engine)


def test_a_file_of_endless_fields_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlcv.runtime.graphs.protobuf._MAX_FIELDS", 1000)
    path = tmp_path / "a.onnx"
    path.write_bytes(b"\x08\x00" * 1001)
    with pytest.raises(CardError, match="is not an ONNX file") as caught:
        read_card(path)
    assert "more than 1000 fields" in str(caught.value.__cause__)
    with pytest.raises(EngineError, match="it has more than 1000 fields"):
        check_graph(path)
