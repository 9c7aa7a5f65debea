"""The JSON keeps all of a result; what is no result, or a newer one, is refused in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dlcv.benchmarks.bench.result import SCHEMA, Result, from_json, read_result, to_json
from dlcv.runtime.errors import UsageError


@pytest.fixture
def result(made: Any) -> Result:
    case = made.case_of({"dlcv": [1.5, 2.5, 3.25], "dlcv again": [1.0, 2.0, 3.0]}, whole=True)
    return Result(made.MACHINE, {"rounds": 3}, (case, made.case_of({"dlcv": [4.0]}, batch=8)), {"x.plan": "no GPU"})


def test_what_is_written_is_read(result: Result) -> None:
    assert from_json(to_json(result), "x") == result


def test_a_newer_schema_is_refused_in_words(result: Result, tmp_path: Path) -> None:
    values = json.loads(to_json(result)) | {"schema": SCHEMA + 1}
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(values))
    with pytest.raises(UsageError) as error:
        read_result(path)
    assert str(error.value) == (
        f"{path} has the schema {SCHEMA + 1}, and this dlcv-bench reads up to {SCHEMA}; read it with the newer dlcv that wrote it"
    )


@pytest.mark.parametrize("text", ["", "[]", "{", '{"schema": 1}', '"dlcv-bench"', '{"kind": "other", "schema": 1}'])
def test_what_is_no_result_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"^notes\.json is no result of dlcv-bench"):
        from_json(text, "notes.json")


def test_a_damaged_result_is_refused(result: Result) -> None:
    values = json.loads(to_json(result))
    del values["cases"][0]["engine"]["model"]
    with pytest.raises(UsageError, match=r"^x is a damaged result of dlcv-bench: .*model.*; measure again"):
        from_json(json.dumps(values), "x")


@pytest.mark.parametrize("name", ["environment", "settings", "left_out"])
@pytest.mark.parametrize("value", [None, [1], "x", 3])
def test_tables_that_are_none_are_refused(result: Result, name: str, value: Any) -> None:
    values = json.loads(to_json(result)) | {name: value}
    with pytest.raises(UsageError, match=r"^x is a damaged result of dlcv-bench: .*; measure again"):
        from_json(json.dumps(values), "x")


@pytest.mark.parametrize(
    "times", [[0.0, 1, 1], [-1, 1, 1], [float("nan"), 1, 1], [float("inf"), 1, 1], ["1", 1, 1], [1, 1]]
)
def test_times_that_cannot_be_are_refused(result: Result, times: list[Any]) -> None:
    """A result that was cut or edited by hand gets no verdict."""
    values = json.loads(to_json(result))
    next(iter(values["cases"][0]["timings"].values()))["lanes"]["dlcv"]["samples_ms"] = times
    with pytest.raises(UsageError, match=r"^x is a damaged result of dlcv-bench: .*; measure again"):
        from_json(json.dumps(values), "x")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file or directory"):
        read_result(tmp_path / "none.json")
