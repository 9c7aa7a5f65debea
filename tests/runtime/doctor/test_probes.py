"""Modules that fail, crash, hang or talk while they load; and a driver that is a small C file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dlcv.runtime.doctor import probes
from dlcv.runtime.doctor.probes import Loaded, load_modules

DRIVER = r"""
#include <string.h>
#include <stddef.h>
int cuInit(unsigned flags) { return CODE; }
int cuDriverGetVersion(int *v) { *v = 13010; return 0; }
int cuDeviceGetCount(int *n) { *n = 2; return 0; }
int cuDeviceGet(int *d, int i) { *d = i; return 0; }
int cuDeviceGetName(char *name, int size, int d) { strcpy(name, d ? "Second" : "First"); return 0; }
int cuDeviceGetAttribute(int *v, int a, int d) { *v = a == 75 ? 8 + d : 6; return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int d) { *bytes = (size_t)48 << 30; return 0; }
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of modules, on the path of this process and of those that it starts."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("__version__ = '3.1'; print('hello')", Loaded("3.1")),
        ("pass", Loaded("unknown")),
        ("raise RuntimeError('two\\nlines')", Loaded(problem="RuntimeError: two lines")),
        ("raise SystemExit(3)", Loaded(problem="SystemExit: 3")),
        ("import no_such_part", Loaded(problem="ModuleNotFoundError: No module named 'no_such_part'")),
        ("import os; os.abort()", Loaded(problem="the process ended with code -6")),
        ("import os; os._exit(0)", Loaded(problem="the process ended with code 0")),
        ("__version__ = 'x' * 10**6", Loaded("x" * 10**6)),
        ("import atexit, os; __version__ = '1'; atexit.register(os.abort)", Loaded("1")),
    ],
)
def test_what_becomes_of_a_module(modules: Path, source: str, found: Loaded) -> None:
    (modules / "odd_module.py").write_text(source)
    assert load_modules(["odd_module", "no_such_module_at_all"]) == {"odd_module": found}
    assert "odd_module" not in sys.modules


def test_one_that_hangs(modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (modules / "odd_module.py").write_text("import time; time.sleep(600)")
    monkeypatch.setattr(probes, "TIMEOUT_S", 1)
    assert load_modules(["odd_module"]) == {"odd_module": Loaded(problem="no answer within 1 seconds")}


def test_a_file_in_the_current_folder_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "click.py").write_text("raise RuntimeError('mine')")
    (tmp_path / "json.py").write_text("raise RuntimeError('mine')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(os.path.abspath(p) for p in sys.path if p))
    monkeypatch.chdir(tmp_path)
    assert load_modules(["click"])["click"].problem == ""


def test_onnx_runtime_with_its_providers() -> None:
    assert "CPUExecutionProvider" in load_modules(["onnxruntime"])["onnxruntime"].providers


@pytest.mark.parametrize(("code", "problem"), [(0, ""), (100, "no GPU that it may use"), (999, "cuInit returned 999")])
def test_a_driver_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, problem: str) -> None:
    compiler = shutil.which("cc") or pytest.skip("no C compiler")
    (tmp_path / "driver.c").write_text(DRIVER)
    library = tmp_path / "libcuda.so.1"
    subprocess.run(
        [compiler, "-shared", "-fPIC", f"-DCODE={code}", "-o", str(library), str(tmp_path / "driver.c")], check=True
    )
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    found = probes.driver()
    assert problem in found["problem"] and bool(problem) == bool(found["problem"])
    assert (found["cuda"], len(found["gpus"])) == (("", 0) if code else ("13.1", 2))
    if not code:
        assert found["gpus"][1] == {"name": "Second", "compute_capability": "9.6", "memory_bytes": 48 << 30}


def test_a_driver_that_crashes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = shutil.which("cc") or pytest.skip("no C compiler")
    (tmp_path / "driver.c").write_text("#include <stdlib.h>\nint cuInit(unsigned f) { abort(); }")
    command = [compiler, "-shared", "-fPIC", "-o", str(tmp_path / "libcuda.so.1"), str(tmp_path / "driver.c")]
    subprocess.run(command, check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    assert "ended with code -6" in probes.driver()["problem"]


def test_as_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dlcv.runtime.doctor.gpus"], capture_output=True, text=True, check=True, timeout=60
    )
    assert set(json.loads(done.stdout)) == {"problem", "kernel_driver", "cuda", "gpus"}
