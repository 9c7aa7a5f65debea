"""Commands whose standard streams are closed: they work, and what would be said is not written into a file of the run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a Unix shell's redirections")
CODE = "import sys; from dlcv.runtime.cli.infer import main; sys.exit(main())"


def _run(closed: str, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", CODE, *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, timeout=120)


def _files(folder: Path) -> dict[str, bytes]:
    """The masks, and the lock, which takes the number of a closed stream first."""
    found = [*folder.rglob("*.png"), *folder.glob(".dlcv-lock")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-"])
def test_a_run_with_closed_streams_is_as_any_other(
    closed: str, tile_folder: Path, tiny_onnx: Path, tmp_path: Path
) -> None:
    given = (tile_folder, "--engine", tiny_onnx, "--overwrite", "--output")
    assert _run("", *given, tmp_path / "usual").returncode == 0
    done = _run(closed, *given, tmp_path / "closed")
    assert done.returncode == 0
    assert _files(tmp_path / "closed") == _files(tmp_path / "usual")
    assert len(_files(tmp_path / "closed")) >= 6


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_a_refusal_keeps_its_exit_code(closed: str, tiny_onnx: Path, tmp_path: Path) -> None:
    assert _run(closed, tmp_path / "missing", "--engine", tiny_onnx, "--output", tmp_path / "m").returncode == 2
