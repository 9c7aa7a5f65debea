"""The list of the GPU suite: one list for the command, the docs and the results; and that each part's command exists."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from dlcv.benchmarks.gpu_suite import plans
from dlcv.benchmarks.gpu_suite.graphs import precisions_of
from dlcv.benchmarks.gpu_suite.parts import BUILDING_S, LIMIT_S, PARTS, Part
from dlcv.benchmarks.gpu_suite.report import as_list
from dlcv.train.models.registry import model_entry

ROOT = Path(__file__).resolve().parents[3]
SUITE_MINUTES = 8
"""What issue 7 allows."""


def test_the_list_in_the_results_is_the_one_of_the_code() -> None:
    assert as_list(PARTS) in (ROOT / "benchmarks/results/gpu-dry-run.md").read_text(), (
        "write it again with: python -m dlcv.benchmarks.gpu_suite --dry-run"
    )


def test_every_part_is_named_in_the_docs() -> None:
    page = (ROOT / "docs/gpu.md").read_text()
    for part in PARTS:
        assert part.name in page or not part.suite or part.name.startswith(("graphs-", "bench-")), part.name


def test_the_budget_holds_the_suite_and_each_part_is_under_two_minutes() -> None:
    suite = [part for part in PARTS if part.suite]
    assert sum(part.minutes for part in suite if not part.spare) <= SUITE_MINUTES
    assert [part.name for part in suite if part.spare] == [part.name for part in suite[-3:]], (
        "what may be cut comes last"
    )
    assert all(60 * part.minutes < LIMIT_S == 120 for part in suite)
    assert {part.limit_s for part in suite if not part.name.startswith("plans-")} == {LIMIT_S}
    assert {part.limit_s for part in suite if part.name.startswith("plans-")} == {BUILDING_S}
    assert len({part.name for part in PARTS}) == len(PARTS)


def test_the_four_models_of_the_issue_have_graphs_plans_and_times() -> None:
    names = {part.name for part in PARTS if part.suite}
    for model in ("fcn8s", "fcn32s", "deeplabv3-resnet101", "resnet50"):
        assert {f"graphs-{model}", f"plans-{model}", f"bench-{model}"} <= names
        assert precisions_of(model) == ("fp32", "fp16", "int8")
    assert set(plans.PRECISIONS) == {"fp32", "tf32", "fp16", "int8"}


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_what_a_command_names_exists(part: Part) -> None:
    words = shlex.split(part.command)
    module = words[words.index("-m") + 1]
    assert find_spec(module) is not None
    for word in words:
        assert not word.startswith("tests/") or (ROOT / word).exists(), word
    for model in re.findall(r"(?:--model|gpu_suite\.\w+) ([a-z]\S+)", part.command):
        assert model_entry(model)


def test_graphs_come_before_what_takes_them() -> None:
    names = [part.name for part in PARTS]
    for name in names:
        kind, _, model = name.partition("-")
        if kind in ("parity", "plans", "validity", "bench", "files"):
            assert names.index(f"graphs-{model}") < names.index(name)
    assert names.index("plans-fcn8s") < min(names.index("plan-files-fcn8s"), names.index("bench-fcn8s"))


def test_the_command_lists_without_loading_anything_heavy() -> None:
    code = (
        "import sys\nfrom dlcv.benchmarks.gpu_suite.__main__ import main\n"
        "main(['--list'], standalone_mode=False)\n"
        "assert not {'torch', 'onnx', 'cv2', 'onnxruntime'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == as_list(PARTS)


def test_tests_on_a_gpu_need_no_hypothesis() -> None:
    """A GPU host has pytest and not always hypothesis."""
    code = "import sys; sys.modules['hypothesis'] = None; import runpy; runpy.run_path('tests/conftest.py')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for part in PARTS:
        assert "hypothesis" not in part.packages, part.name
        for word in shlex.split(part.command):
            assert not word.startswith("tests/") or "import hypothesis" not in (ROOT / word).read_text(), word
