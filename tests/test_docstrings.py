"""What docstrings say of where things are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(
    path for folder in ("runtime", "train", "export", "benchmarks") for path in (ROOT / folder).rglob("*.py")
)
NAMES = {
    path.name
    for folder in ("runtime", "train", "export", "benchmarks", "tests")
    for path in (ROOT / folder).rglob("*.py")
}


def _docstrings(path: Path) -> list[str]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = (ast.get_docstring(node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds))
    return [text for text in found if text]


@pytest.mark.parametrize("folder", ["runtime", "train", "export", "benchmarks"])
def test_a_module_that_a_docstring_names_is_there(folder: str) -> None:
    missing = []
    for path in MODULES:
        if path.relative_to(ROOT).parts[0] != folder:
            continue
        for text in _docstrings(path):
            for name in re.findall(r"`([\w/]+\.py)`", text):
                there = any((above / name).exists() for above in path.parents if above.is_relative_to(ROOT))
                if not there and ("/" in name or name not in NAMES):
                    missing.append(f"{path.relative_to(ROOT)}: {name}")
    assert missing == []
