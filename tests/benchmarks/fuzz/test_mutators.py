"""Mutants: the same from the same number, different from another one, and by formats whole where they say so."""

from __future__ import annotations

import io
import json
import random
import zipfile

import numpy as np
import pytest
from PIL import Image

from dlcv.benchmarks.fuzz.mutators import BY_KIND, GENERIC, json_value, mutated, png_chunk, zip_member
from dlcv.runtime.errors import TileError
from dlcv.runtime.headers import png

DATA = bytes(range(256)) * 4


@pytest.mark.parametrize("kind", ["bytes", *BY_KIND])
def test_a_number_makes_the_same_mutant_again(kind: str) -> None:
    made = [mutated(DATA, number, [DATA, b"other"], kind) for number in range(200)]
    assert made == [mutated(DATA, number, [DATA, b"other"], kind) for number in range(200)]
    assert len({data for data, _ in made}) > 100
    assert {name for _, names in made for name in names} == set(GENERIC | BY_KIND.get(kind, {}))


@pytest.mark.parametrize("data", [b"", b"x"])
@pytest.mark.parametrize("kind", ["bytes", *BY_KIND])
def test_almost_nothing_is_spoiled_too(kind: str, data: bytes) -> None:
    for number in range(300):
        mutated(data, number, [data], kind)


def test_chunks_have_right_checksums() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((5, 6, 3), np.uint8)).save(buffer, "PNG")
    told = set()
    for number in range(200):
        try:
            png.read(png_chunk(buffer.getvalue(), random.Random(number), []))
        except TileError as error:
            told.add(str(error))
    assert told
    assert not [text for text in told if "checksum" in text]


def test_archives_and_json_stay_whole() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", DATA)
        archive.writestr("a/dlcv.json", b'{"a": [1, {"b": null}]}')
    for number in range(100):
        spoiled = zip_member(buffer.getvalue(), random.Random(number), [])
        with zipfile.ZipFile(io.BytesIO(spoiled)) as archive:
            assert archive.testzip() is None
    values = {json_value(b'{"a": [1, {"b": null}]}', random.Random(number), []) for number in range(100)}
    assert len([json.loads(value) for value in values]) > 30
