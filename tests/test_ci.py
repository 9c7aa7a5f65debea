"""What CI runs is what a person runs: the workflow of a fork calls .ci/run, and that calls targets of the Makefile."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_workflow_runs_the_same_commands() -> None:
    text = (ROOT / ".github/workflows/ci.yml").read_text()
    assert re.findall(r"^ *- run: (.*)$", text, re.MULTILINE) == ["bash .ci/run"]
    assert "://" not in text  # no host is named


def test_ci_runs_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called = set(re.findall(r"^ *make ([a-z]+)", (ROOT / ".ci/run").read_text(), re.MULTILINE))
    assert {"check", "bench", "demo"} <= called <= targets
