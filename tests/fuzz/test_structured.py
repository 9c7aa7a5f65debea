"""Files built from their parts by hypothesis, rather than spoiled: directories of TIFFs, messages of protocol buffers, opcodes of
pickles, JSON values in the place of others, and tables. Each reader ends in an answer or in its own error of one line.
"""

from __future__ import annotations

import copy
import json
import pickletools
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("hypothesis", reason="the test extra is not installed")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlcv.runtime.card.card import ModelCard, card_from_dict, card_from_json
from dlcv.runtime.card.reader import find_card
from dlcv.runtime.datasets.classes.table import find_in_csv
from dlcv.runtime.datasets.masks.description import description_from_dict, load_description
from dlcv.runtime.errors import CardError, DatasetError, DlcvError, TileError
from dlcv.runtime.graphs.onnx_graph import read_onnx_graph
from dlcv.runtime.headers import read_header
from dlcv.runtime.inspection.pickled import PickleError, read_pickled
from dlcv.runtime.provenance.graph import check_graph
from dlcv.runtime.raster.detect import tiff_facts

steady = settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
"""The same examples each time: what CI finds, it finds again."""
numbers = st.one_of(
    st.integers(0, 3),
    st.sampled_from([7, 8, 255, 4096, 65_535, 100_000, 2**31 - 1, 2**31, 2**32 - 1]),
    st.integers(0, 2**32 - 1),
)


def ends_in(errors: type[Exception] | tuple[type[Exception], ...], read: Callable[[], Any]) -> Any:
    """What `read` gives; None where it raises one of these, in one line."""
    try:
        return read()
    except errors as error:
        said = str(error)
    assert said, "an error says something"
    assert "\n" not in said
    return None


# --- TIFF ---------------------------------------------------------------------------------------------------------------

tags = st.sampled_from(
    [256, 257, 258, 259, 262, 273, 277, 278, 279, 322, 323, 324, 325, 338, 339, 347, 33550, 33922, 0, 65_535]
)
entries = st.lists(st.tuples(tags, st.integers(0, 18), st.one_of(st.just(1), numbers), numbers), max_size=24)


@steady
@given(
    order=st.sampled_from("<>"),
    big=st.booleans(),
    entries=entries,
    count=st.none() | numbers,
    tail=st.binary(max_size=64),
)
def test_tiff_directories(
    tmp_path: Path, order: str, big: bool, entries: list[Any], count: int | None, tail: bytes
) -> None:
    said = len(entries) if count is None else count
    number, entry = ("Q", "HHQQ") if big else ("I", "HHII")
    start = 16 if big else 8
    magic = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    head = magic + (struct.pack(order + "HH", 8, 0) if big else b"") + struct.pack(order + number, start)
    body = struct.pack(order + ("Q" if big else "H"), said if big else said % 65_536)
    data = head + body + b"".join(struct.pack(order + entry, *each) for each in entries) + tail
    header = ends_in(TileError, lambda: read_header(data))
    (tmp_path / "a.tif").write_bytes(data)
    facts = tiff_facts(tmp_path / "a.tif")
    if header is not None and facts is not None:
        assert header.size_hw == facts.size_hw, "two readers of one directory"


@steady
@given(
    st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF\x1e\0\0\0WEBP", b"\xff\x4f\xff\x51"]),
    st.binary(max_size=120),
)
def test_headers_of_anything(magic: bytes, rest: bytes) -> None:
    ends_in(TileError, lambda: read_header(magic + rest))


# --- protocol buffers ---------------------------------------------------------------------------------------------------


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, content: int | bytes) -> bytes:
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


leaves = st.one_of(
    st.integers(0, 2**64 - 1), st.binary(max_size=12), st.sampled_from([b"dlcv", b"location", b"../x", b"evil.ops"])
)
fields = st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 14, 15, 20, 25])
messages = st.recursive(
    st.lists(st.tuples(fields, leaves), max_size=4).map(lambda parts: b"".join(field(*part) for part in parts)),
    lambda inner: st.lists(st.tuples(fields, inner), max_size=4).map(
        lambda parts: b"".join(field(*part) for part in parts)
    ),
    max_leaves=24,
)


@steady
@given(messages, st.binary(max_size=6))
def test_messages(tmp_path: Path, message: bytes, tail: bytes) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(message + tail + b"\0" * (not message + tail))
    for read in (find_card, read_onnx_graph, check_graph):
        ends_in((DlcvError, ValueError) if read is read_onnx_graph else DlcvError, partial(read, path))


# --- pickles ------------------------------------------------------------------------------------------------------------

codes = st.sampled_from([code.code.encode("latin-1") for code in pickletools.opcodes])
arguments = st.one_of(
    st.just(b""),
    st.binary(max_size=5),
    st.sampled_from([b"torch._utils\n_rebuild_tensor_v2\n", b"os\nsystem\n", b"1\n", b"\x05\0\0\0abcde"]),
)


@steady
@given(st.lists(st.tuples(codes, arguments), max_size=30))
def test_opcodes(parts: list[tuple[bytes, bytes]]) -> None:
    ends_in(PickleError, lambda: read_pickled(b"\x80\x02" + b"".join(code + rest for code, rest in parts) + b"."))


# --- JSON ---------------------------------------------------------------------------------------------------------------

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)
CARD = ModelCard(
    model="fcn8s", task="segmentation", classes=("a", "b"), palette=((0, 0, 0), (9, 9, 9)), input_size_hw=(64, 64),
    mean_rgb=(1.0, 2.0, 3.0), std_rgb=(1.0, 1.0, 1.0), head="mask", versions={"dlcv": "1"},
).to_dict()  # fmt: skip
DESCRIPTION = load_description("deepglobe").to_dict()


def places(values: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    return [at, *(place for key, value in inner for place in places(value, (*at, key)))]


def changed(values: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    found = copy.deepcopy(values)
    holder = found
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    return found


@steady
@given(st.sampled_from(places(json.loads(json.dumps(CARD)))), json_values)
def test_cards(place: tuple[Any, ...], value: Any) -> None:
    values = changed(json.loads(json.dumps(CARD)), place, value)
    card = ends_in(CardError, lambda: card_from_dict(values, "it"))
    if card is not None:
        assert card_from_json(card.to_json(), "again") == card


@steady
@given(st.sampled_from(places(DESCRIPTION)), json_values)
def test_descriptions(place: tuple[Any, ...], value: Any) -> None:
    found = ends_in(DatasetError, lambda: description_from_dict(changed(DESCRIPTION, place, value), "x", source="it"))
    if found is not None:
        assert description_from_dict(found.to_dict(), "y", source="again") == found


# --- tables -------------------------------------------------------------------------------------------------------------

cells = st.one_of(
    st.sampled_from(
        ["file", "label", "pixels", "split", "a.png", "0 1 2 3", "train", "", '"', "../x", "a\0b", "9" * 20]
    ),
    st.text(st.characters(codec="utf-8"), max_size=8),
)


@steady
@given(
    st.lists(st.lists(cells, min_size=1, max_size=4).map(",".join), max_size=6).map("\n".join), st.binary(max_size=3)
)
def test_tables(tmp_path: Path, text: str, tail: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(text.encode() + tail)
    ends_in(DatasetError, lambda: find_in_csv(tmp_path / "a.csv"))
