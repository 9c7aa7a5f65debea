"""What CI runs is what a person runs: the workflow of a fork calls .ci/run, and that calls targets of the Makefile."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PLANTED = """
import os, pathlib, signal, time
import pytest


def first(name):
    marker = pathlib.Path(name)
    found = not marker.exists()
    marker.touch()
    return found
"""
PASSES = "\ndef test_that_passes(): pass\n"
ONCE = "\ndef test_once(): assert not first('once')\n"
ALWAYS = "\ndef test_always(): assert False\n"
CRASH = "\ndef test_crash():\n    if first('crash'): os.kill(os.getpid(), signal.SIGKILL)\n"
FOUR = "\n@pytest.mark.parametrize('n', range(4))\ndef test_four(n): assert not first(f'four{n}')\n"
HANGS = "\ndef test_hangs(): time.sleep(600)\n"
BROKEN = "\nimport no_such_module\n"


def test_the_workflow_runs_the_same_commands() -> None:
    text = (ROOT / ".github/workflows/ci.yml").read_text()
    assert re.findall(r"^ *- run: (.*)$", text, re.MULTILINE) == ["bash .ci/run"]
    assert "://" not in text  # no host is named


def test_ci_runs_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called = set(re.findall(r"^ *make ([a-z]+)", (ROOT / ".ci/run").read_text(), re.MULTILINE))
    assert {"check", "bench", "demo"} <= called <= targets


def _second_try(
    folder: Path, planted: str, *options: str, limit_s: float = 100
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """How `.ci/second_try.py` ends with these tests, and the names of those that passed alone."""
    (folder / "tests").mkdir()
    (folder / "tests/test_planted.py").write_text(PLANTED + planted)
    (folder / "setup.cfg").write_text("[tool:pytest]\n")
    names = folder / "names"
    done = subprocess.run(
        [sys.executable, ROOT / ".ci/second_try.py", "-p", "xdist.plugin", *options, "tests"],
        cwd=folder, capture_output=True, text=True, timeout=300, check=False,
        env=os.environ
        | {"SECOND_TRY": str(names), "SECOND_TRY_LIMIT_S": str(limit_s), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip
    return done, names.read_text().split() if names.exists() else []


@pytest.mark.parametrize(
    ("planted", "code", "named", "tried"),
    [
        (ONCE, 0, ["tests/test_planted.py::test_once"], True),
        (ONCE + ALWAYS, 1, [], True),
        (FOUR, 1, [], False),
        (BROKEN, 2, [], False),
    ],
    ids=["once", "always", "four", "not collected"],
)
def test_what_a_second_try_decides(tmp_path: Path, planted: str, code: int, named: list[str], tried: bool) -> None:
    done, names = _second_try(tmp_path, PASSES + planted)
    assert (done.returncode, names) == (code, named), done.stdout
    assert ("second try, alone in one process: " in done.stdout) == tried
    assert ("\n== 1 passed in" in re.sub("=+", "==", done.stdout)) == bool(named)  # nothing but what had failed


def test_a_worker_that_crashed_is_tried_alone(tmp_path: Path) -> None:
    done, names = _second_try(tmp_path, CRASH, "-n", "1", "--dist", "loadfile")
    assert (done.returncode, names) == (0, ["tests/test_planted.py::test_crash"]), done.stdout
    assert "crashed while running" in done.stdout


def test_a_second_crash_is_red_since_the_rest_is_not_run(tmp_path: Path) -> None:
    planted = "\ndef test_crashes(): os.kill(os.getpid(), signal.SIGKILL)\n"
    done, names = _second_try(tmp_path, planted, "-n", "1", "--dist", "loadfile", "--max-worker-restart=1")
    assert (done.returncode, names) == (1, [])
    assert "no second try: 1 tests failed, 2 processes crashed" in done.stdout


def test_a_run_that_hangs_is_red(tmp_path: Path) -> None:
    done, names = _second_try(tmp_path, HANGS, limit_s=3)
    assert (done.returncode, names) == (124, [])
    assert "tests: ended after 3 s; above is where it was" in done.stdout


def test_a_test_that_hangs_ends_by_itself(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    assert 0 < float(pytestconfig.getini("faulthandler_timeout")) <= 900
    limits = ("-o", "faulthandler_timeout=2", "-o", "faulthandler_exit_on_timeout=true")
    done, names = _second_try(tmp_path, HANGS, "-n", "1", *limits)
    assert (done.returncode, names) == (1, [])
    assert "crashed while running 'tests/test_planted.py::test_hangs'" in done.stdout
    assert "second try, alone" in done.stdout


NEEDY = "import pytest\n\ndef test_needy(): pytest.importorskip('broken_here')\n"
"""Of a module that is there and imports one that is not: without DLCV_NEEDS it would be skipped."""


@pytest.mark.parametrize(
    ("needs", "code", "told"),
    [
        ("", 0, "1 skipped"),
        ("click", 0, "1 skipped"),
        ("click broken_here", 1, "No module named 'gone_here'"),
        ("click gone_here", 4, "DLCV_NEEDS names what is missing, for which tests would be skipped: gone_here"),
    ],
)
def test_what_is_needed_is_not_skipped(tmp_path: Path, needs: str, code: int, told: str) -> None:
    (tmp_path / "test_needy.py").write_text(NEEDY)
    (tmp_path / "broken_here.py").write_text("import gone_here\n")
    (tmp_path / "conftest.py").write_text(
        "import os\nfrom needs import insist\ndef pytest_configure(): insist(os.environ['DLCV_NEEDS'].split())\n"
    )
    (tmp_path / "setup.cfg").write_text(f"[tool:pytest]\npythonpath = . {ROOT / 'tests/helpers'}\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
        env=os.environ | {"DLCV_NEEDS": needs, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert told in done.stdout + done.stderr


def test_ci_needs_what_tests_are_skipped_for() -> None:
    """Every module that a test of ours skips for is needed in CI, but for those that are nobody's extra, or torch's own."""
    skipped = set()
    for path in (ROOT / "tests").rglob("*.py"):
        skipped |= {name.partition(".")[0] for name in re.findall(r'importorskip\(\s*"([\w.]+)"', path.read_text())}
    needed = set("".join(re.findall(r'^ *needs\+?="([^"]*)"', (ROOT / ".ci/run").read_text(), re.MULTILINE)).split())
    assert skipped - needed <= {"packaging", "pycuda"}, (
        "an exception says why: one comes with pytest, one needs a GPU's driver"
    )
    assert {"chromium", "openvino", "tensorrt_rtx", "rasterio", "ray", "tritonclient", "minisign"} <= needed
