"""Each protection is taken away in a copy of the project, and the test that stands for it has to fail.

`--long` tries them all, in some ten minutes; CI checks that what is to be taken away still stands where the table says, and that the
tests are there.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from protections import ALL

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("runtime", "train", "export", "benchmarks")
HANGS_S = 300.0
"""Without some protections a test waits for ever; that is a failure, too."""


def _names(path: Path) -> set[str]:
    """Of the tests in a file, as pytest names them."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        found |= {prefix + one.name for one in inside if isinstance(one, ast.FunctionDef)}
    return found


@pytest.mark.parametrize("row", ALL, ids=lambda row: row.what)
def test_the_table_speaks_of_what_is_there(row: Any) -> None:
    assert (ROOT / row.file).read_text().count(row.old) == 1, row.file
    path, _, name = row.test.partition("::")
    assert name in _names(ROOT / path)


def test_the_page_of_demands_names_tests_that_are_there() -> None:
    page = (ROOT / "benchmarks/results/reliability.md").read_text()
    named = re.findall(r"(tests/[\w/]+\.py)(?:::(\w+))?", page)
    assert len(named) > 30
    gone = [f"{file}::{name}" for file, name in named if name and name not in _names(ROOT / file)]
    assert gone == [] and all((ROOT / file).is_file() for file, _ in named)


@pytest.fixture(scope="session")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, in a folder of its own."""
    root = tmp_path_factory.mktemp("copy")
    for name in (*PACKAGES, "tests"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml"):
        shutil.copyfile(ROOT / name, root / name)
    (root / ".typing/dlcv").mkdir(parents=True)
    for name in PACKAGES:
        (root / ".typing/dlcv" / name).symlink_to(root / name)
    return root


@pytest.fixture
def outcome(copy: Path) -> Callable[[str], tuple[str, str]]:
    """Runs a test in the copy: `passed`, `failed` or `skipped`, and what pytest said."""

    def run(test: str) -> tuple[str, str]:
        env = os.environ | {"PYTHONPATH": str(copy / ".typing"), "PYTHONDONTWRITEBYTECODE": "1"}
        env.pop("DLCV_FIGURES", None)
        given = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-rfE",
            "-p",
            "no:cacheprovider",
            f"--basetemp={copy / 'tmp'}",
            test,
        ]
        process = subprocess.Popen(
            given, cwd=copy, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            start_new_session=True,
        )  # fmt: skip
        try:
            out, _ = process.communicate(timeout=HANGS_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.communicate()
            return "failed", f"it hangs for {HANGS_S:g} s"
        if process.returncode < 0:
            return "failed", f"it ends by signal {-process.returncode}"
        assert process.returncode in (0, 1), out
        if process.returncode == 0:
            return "passed" if " passed" in out else "skipped", out
        return "failed", "\n".join(line for line in out.splitlines() if line.startswith(("FAILED", "ERROR")))

    return run


@pytest.fixture
def taken_away(copy: Path) -> Iterator[Callable[[Any], None]]:
    """Takes a protection away; it is back after the test."""
    before: dict[Path, str] = {}

    def take(row: Any) -> None:
        path = copy / row.file
        before[path] = path.read_text()
        path.write_text(before[path].replace(row.old, row.new))
        ast.parse(path.read_text())

    yield take
    for path, text in before.items():
        path.write_text(text)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="processes in groups, as a Unix has them")
@pytest.mark.parametrize("row", ALL, ids=lambda row: row.what)
def test_without_it_the_test_fails(
    row: Any, outcome: Callable[[str], tuple[str, str]], taken_away: Callable[[Any], None], harness: Any
) -> None:
    taken_away(row)
    how, said = outcome(row.test)
    harness.note("protection", {"what": row.what, "test": row.test, "how": how, "said": said[:500]})
    if how == "skipped":
        pytest.skip("the test cannot be run on this machine")
    assert how == "failed", said
    assert "ERROR" not in said, f"it fails by itself, not by the test: {said}"
