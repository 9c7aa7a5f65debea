"""ONNX graphs read without onnx: as onnx itself reads them, and damaged ones in one line."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlcv.runtime.errors import EngineError
from dlcv.runtime.graphs.onnx_graph import read_onnx_graph
from dlcv.runtime.graphs.port import Port


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def weight(name: bytes, sizes: list[int], code: int, raw: bytes) -> bytes:
    dims = b"".join(field(1, size & (1 << 64) - 1) for size in sizes)
    return field(5, dims + field(2, code) + field(8, name) + field(9, raw))


def node(operator: bytes, inputs: list[bytes], output: bytes, domain: bytes = b"") -> bytes:
    return field(1, b"".join(field(1, i) for i in inputs) + field(2, output) + field(4, operator) + field(7, domain))


@pytest.fixture
def written(tmp_path: Path):  # type: ignore[no-untyped-def]
    def write(graph: bytes, rest: bytes = b"") -> Path:
        (tmp_path / "a.onnx").write_bytes(field(7, graph) + rest)
        return tmp_path / "a.onnx"

    return write


@pytest.mark.parametrize("head", ["mask", "probs"])
def test_as_onnx_reads_it(tiny_graph, head: str) -> None:  # type: ignore[no-untyped-def]
    onnx = pytest.importorskip("onnx")
    proto, found = onnx.load(tiny_graph(head)), read_onnx_graph(tiny_graph(head))
    assert found.operators == Counter(node.op_type for node in proto.graph.node)
    assert found.opset == {"ai.onnx": proto.opset_import[0].version}
    assert found.ir_version == proto.ir_version
    sizes = [math.prod(tensor.dims) for tensor in proto.graph.initializer]
    assert found.weights == {"float32": {"tensors": len(sizes), "values": sum(sizes)}}
    assert found.weight_bytes == 4 * sum(sizes)
    convolutions = sum("Conv" in node.op_type for node in proto.graph.node)
    assert found.kernels == {"float32": convolutions}


def test_ports(tiny_onnx: Path) -> None:
    found = read_onnx_graph(tiny_onnx)
    assert found.inputs == [Port("image", "uint8", ("batch", 64, 64, 3))]
    assert found.outputs == [Port("mask", "uint8", ("batch", 64, 64))]


@pytest.mark.parametrize(
    ("nodes", "kernels"),
    [
        (node(b"Conv", [b"x", b"w"], b"y"), {"int8": 1}),
        (node(b"DequantizeLinear", [b"w"], b"dw") + node(b"Conv", [b"x", b"dw"], b"y"), {"int8 weights only": 1}),
        (
            node(b"DequantizeLinear", [b"q"], b"dx")
            + node(b"DequantizeLinear", [b"w"], b"dw")
            + node(b"Conv", [b"dx", b"dw"], b"y"),
            {"int8": 1},
        ),
        (node(b"MatMul", [b"x", b"z"], b"y"), {"computed": 1}),
        (node(b"QLinearConv", [b"x", b"s", b"z", b"w"], b"y"), {"int8": 1}),
        (node(b"Transpose", [b"a"], b"b") + node(b"Transpose", [b"b"], b"a") + node(b"Gemm", [b"x", b"a"], b"y"),
         {"computed": 1}),
    ],
)  # fmt: skip
def test_convolutions_by_the_type_of_their_weights(written, nodes: bytes, kernels: dict[str, int]) -> None:  # type: ignore[no-untyped-def]
    assert read_onnx_graph(written(nodes + weight(b"w", [2, 3], 3, bytes(6)))).kernels == kernels


def test_other_domains_graphs_inside_and_files_beside(written) -> None:  # type: ignore[no-untyped-def]
    inside = field(5, field(6, node(b"Relu", [b"x"], b"y")))
    outside = field(
        5, field(1, 4) + field(2, 10) + field(8, b"w") + field(13, field(1, b"location") + field(2, b"w.bin"))
    )
    graph = field(1, field(4, b"If") + inside) + node(b"Gelu", [b"x"], b"y", b"com.microsoft") + outside
    found = read_onnx_graph(written(graph, field(8, field(1, b"com.microsoft") + field(2, 1))))
    assert found.operators == {"If": 1, "Relu": 1, "com.microsoft.Gelu": 1}
    assert found.opset == {"com.microsoft": 1}
    assert found.external_files == ["w.bin"]
    assert found.weights == {"float16": {"tensors": 1, "values": 4}}


def deep(levels: int) -> bytes:
    graph = b""
    for _ in range(levels):
        graph = field(1, field(5, field(6, graph)))
    return graph


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (weight(b"w", [2, 3], 1, bytes(23)), "weight 'w' holds 23 bytes, expected 24"),
        (weight(b"w", [-1], 1, b""), "has the shape"),
        (weight(b"w", [1] * 65, 1, bytes(4)), "more than 64 axes"),
        (deep(30), "deep"),
        (field(1, field(4, b"R" * 5000)), "is not a text of at most 4096 bytes"),
        (b"\x0a\x7f", "reaches beyond its message"),
        (b"\xff" * 20, "does not end"),
        (b"\x02\x00", "without a number"),
    ],
)
def test_damage_in_one_line(written, graph: bytes, reason: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(EngineError, match=reason) as caught:
        read_onnx_graph(written(graph))
    assert "\n" not in str(caught.value)


def test_more_fields_than_are_walked(written, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("dlcv.runtime.graphs.protobuf._MAX_FIELDS", 1000)
    with pytest.raises(EngineError, match="more than 1000 fields"):
        read_onnx_graph(written(node(b"Relu", [b"x"], b"y") * 1000))


def test_no_graph(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(field(1, 10))
    with pytest.raises(EngineError, match="holds no graph"):
        read_onnx_graph(tmp_path / "a.onnx")


def test_cut_short_anywhere(tiny_onnx: Path, tmp_path: Path) -> None:
    whole = tiny_onnx.read_bytes()
    for size in range(1, len(whole), len(whole) // 60):
        (tmp_path / "cut.onnx").write_bytes(whole[:size])
        with suppress(EngineError):  # a cut between two fields leaves a shorter graph, which is no error of the format
            read_onnx_graph(tmp_path / "cut.onnx")


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=300))
def test_any_bytes_end_in_words(written, data: bytes) -> None:  # type: ignore[no-untyped-def]
    with suppress(EngineError):  # another exception would be a traceback
        read_onnx_graph(written(data))
