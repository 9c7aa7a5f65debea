"""What `tests/conftest.py` says of the order of files is about files that are there."""

from __future__ import annotations

import runpy
from pathlib import Path

HERE = Path(__file__).parent


def test_the_files_that_come_first_exist() -> None:
    names = runpy.run_path(str(HERE / "conftest.py"))["LONGEST_FIRST"]
    assert [name for name in names if not (HERE / f"{name}.py").exists()] == []
    assert len(set(names)) == len(names)
