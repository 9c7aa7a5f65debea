"""An engine that is not the file its sidecar lists is refused before anything of it is loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from dlcv.runtime.card.sidecar import check_sidecar
from dlcv.runtime.errors import EngineError
from dlcv.runtime.files import sha256_of
from dlcv.runtime.sessions import open_session

OTHER = "0" * 64


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    path = tmp_path / "fcn8s.plan"
    path.write_bytes(b"vtrt and so on")
    return path


def _sidecar(engine: Path, **values: Any) -> Path:
    path = engine.with_suffix(".json")
    path.write_text(json.dumps({"card": {}, "files": {engine.name: {"sha256": sha256_of(engine)}}} | values))
    return path


def test_the_file_that_was_listed_passes(engine: Path) -> None:
    _sidecar(engine)
    check_sidecar(engine)


@pytest.mark.parametrize("size_kept", [True, False])
def test_another_file_is_refused_in_one_line(engine: Path, size_kept: bool) -> None:
    _sidecar(engine)
    engine.write_bytes(b"vtrt and so oN" if size_kept else b"vtrt")
    with pytest.raises(EngineError) as caught:
        check_sidecar(engine)
    assert str(caught.value) == (
        f"{engine} is not the file that dlcv-export wrote: fcn8s.json holds another hash; "
        "export it again, or remove fcn8s.json if you trust the file"
    )


def test_without_a_sidecar_nothing_is_checked(engine: Path) -> None:
    check_sidecar(engine)


@pytest.mark.parametrize("files", [{"fcn8s.onnx": {"sha256": OTHER}}, {"fcn8s.plan": OTHER}])
def test_a_file_of_another_export_is_refused(engine: Path, files: dict[str, Any]) -> None:
    """A plan that an earlier export left beside a newer graph."""
    _sidecar(engine, files=files)
    with pytest.raises(EngineError, match=r"is not of the export that wrote fcn8s\.json"):
        check_sidecar(engine)


@pytest.mark.parametrize("values", [{"files": {}}, {"files": [["fcn8s.plan", OTHER]]}, {"files": None}])
def test_a_sidecar_without_files_is_no_error(engine: Path, values: dict[str, Any]) -> None:
    _sidecar(engine, **values)
    check_sidecar(engine)


@pytest.mark.parametrize("listed", [{"sha256": 7}, {"bytes": 7}])
def test_a_sidecar_without_a_hash_is_refused(engine: Path, listed: dict[str, Any]) -> None:
    _sidecar(engine, files={"fcn8s.plan": listed})
    with pytest.raises(EngineError, match="holds another hash"):
        check_sidecar(engine)


@pytest.mark.parametrize(
    "text",
    ["", "not JSON", "[]", "7", '{"files": {"fcn8s.plan": {"sha256": "0"}}}', "[" * 100_000, "\udcff"],
    ids=["empty", "text", "list", "number", "another tool's", "deep", "not UTF-8"],
)
def test_a_foreign_json_is_no_error(engine: Path, text: str) -> None:
    engine.with_suffix(".json").write_bytes(text.encode("utf-8", "surrogateescape"))
    check_sidecar(engine)


def test_a_folder_and_a_huge_file_by_that_name_are_no_error(engine: Path) -> None:
    sidecar = engine.with_suffix(".json")
    sidecar.mkdir()
    check_sidecar(engine)
    sidecar.rmdir()
    with open(sidecar, "wb") as file:
        file.truncate(1 << 40)  # sparse: takes no room, and would not fit into memory
    check_sidecar(engine)


def test_open_session_checks_a_graph_before_it_is_loaded(tiny_onnx: Path, tmp_path: Path) -> None:
    engine = tmp_path / "fcn8s.onnx"
    shutil.copyfile(tiny_onnx, engine)
    sidecar = _sidecar(engine)
    open_session(engine, device="cpu").close()
    with open(engine, "r+b") as file:  # not even ONNX any more
        file.write(b"xxxx")
    with pytest.raises(EngineError, match=r"fcn8s\.json holds another hash"):
        open_session(engine, device="cpu")
    sidecar.unlink()
    with pytest.raises(EngineError, match="is not an ONNX file"):
        open_session(engine, device="cpu")


def test_open_session_checks_a_plan_before_it_is_loaded(engine: Path) -> None:
    _sidecar(engine)
    engine.write_bytes(b"vtrt".ljust(64, b"\0"))
    with pytest.raises(EngineError, match=r"fcn8s\.json holds another hash"):
        open_session(engine)
