"""What may be imported where: the runtime without torch, `--help` without anything heavy, names that are promised."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dlcv import runtime
from dlcv.runtime import errors

ROOT = Path(__file__).resolve().parent.parent
RUNTIME = ROOT / "runtime"

BLOCK = """
import importlib.abc, sys
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r} or name.startswith(("dlcv.train", "dlcv.export", "dlcv.benchmarks")):
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)
        return None
sys.meta_path.insert(0, Blocked())
"""


def python(code: str, *blocked: str) -> str:
    """Runs code with some packages blocked; returns what it printed."""
    paths = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", BLOCK.format(blocked=blocked) + code],
        check=False, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


def modules_of_the_runtime() -> list[str]:
    names = []
    for path in sorted(RUNTIME.rglob("*.py")):
        parts = path.relative_to(RUNTIME).with_suffix("").parts
        names.append(".".join(("dlcv", "runtime", *(part for part in parts if part != "__init__"))))
    return names


def test_the_whole_runtime_imports_without_torch_onnx_tensorrt_and_pycuda() -> None:
    names = modules_of_the_runtime()
    assert "dlcv.runtime.sessions.trt" in names
    assert len(names) > 30
    code = f"import importlib\nfor name in {names!r}:\n    importlib.import_module(name)\nprint('all')"
    blocked = (
        "torch",
        "onnx",
        "onnxscript",
        "onnx_ir",
        "tensorrt",
        "tensorrt_rtx",
        "tensorrt_lean",
        "pycuda",
        "isal",
        "openvino",
        "simplejpeg",
    )
    assert python(code, *blocked) == "all\n"


def test_the_block_blocks() -> None:
    with pytest.raises(AssertionError, match="torch is blocked"):
        python("import torch", "torch")


def test_the_trt_session_imports_with_numpy_alone() -> None:
    assert (
        python("import dlcv.runtime.sessions.trt; print('in')", "cv2", "click", "onnxruntime", "PIL", "torch", "onnx")
        == "in\n"
    )


HEAVY = ("numpy", "cv2", "onnxruntime", "torch", "onnx", "PIL")
LOADED = f"print(sorted(set({(*HEAVY, 'click')!r}) & set(sys.modules)))"


def test_importing_the_runtime_loads_nothing() -> None:
    assert python(f"import dlcv.runtime\n{LOADED}") == "[]\n"
    assert (
        python(
            f"import dlcv.runtime.card.card, dlcv.runtime.errors, dlcv.runtime.tiles.listing, dlcv.runtime.records.manifest\n{LOADED}"
        )
        == "[]\n"
    )
    assert python(f"import dlcv.runtime.metrics, dlcv.runtime.sessions.base\n{LOADED}") == "['numpy']\n"


def test_what_the_runtime_promises_is_there() -> None:
    assert sorted(runtime.__all__) == runtime.__all__
    for name in runtime.__all__:
        assert getattr(runtime, name) is not None
    assert set(runtime._HOME) == set(runtime.__all__) - {"__version__"}
    from dlcv.runtime import load
    from dlcv.runtime.model.model import load as same

    assert load is same
    with pytest.raises(
        AttributeError,
        match=r"^module 'dlcv\.runtime' has no attribute 'laod'; it has DlcvError, Model, .*, read_card$",
    ):
        _ = runtime.laod


def test_imports_go_one_way() -> None:
    layers = ["runtime", "train", "export", "benchmarks"]
    for height, layer in enumerate(layers):
        for path in (ROOT / layer).rglob("*.py"):
            imported = set(re.findall(r"^\s*(?:from|import) dlcv\.(\w+)", path.read_text(), re.MULTILINE))
            assert imported <= set(layers[: height + 1]), f"{path.relative_to(ROOT)} imports {imported}"


def test_exit_codes_are_those_that_are_documented() -> None:
    drawn = dict(
        re.findall(
            r"^[ |+-]*(\w+Error|OutOfMemory|SessionLost|Interrupted) +([0-9-]+)  ", errors.__doc__ or "", re.MULTILINE
        )
    )
    classes = {
        name: value for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)
    }
    assert set(drawn) == set(classes), "the tree in the docstring and the classes differ"
    for name, code in drawn.items():
        if code != "-":  # a row in the manifest, no end of a command
            assert classes[name].exit_code == int(code), name
        assert issubclass(classes[name], errors.DlcvError)
    assert issubclass(errors.PlanError, errors.EngineError)
    assert (errors.EXIT_OK, errors.EXIT_INCOMPLETE, errors.EXIT_ERROR, errors.EXIT_INTERRUPTED) == (0, 1, 2, 130)


def test_one_line() -> None:
    assert errors.one_line("a\nb\r\x1b\x00 \u2028 é") == "a\\nb\\r\\x1b\\x00 \\u2028 é"
    assert errors.one_line("\udcff") == "\\udcff"
    missing = errors.MissingPackageError("pycuda", "run a plan", "pip install pycuda")
    assert str(missing) == "pycuda is needed to run a plan; install it with: pip install pycuda"
