"""No line of the packages takes code out of a file: a look at the source, beside the tests that try each kind of file.

What stands in `ALLOWED` does so with what no user's file holds.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("runtime", "train", "export", "benchmarks")
RUN_CODE = {
    "pickle.load", "pickle.loads", "pickle.Unpickler", "cPickle.load", "dill.load", "joblib.load", "marshal.load", "marshal.loads",
    "shelve.open", "yaml.load", "yaml.unsafe_load", "eval", "exec", "os.system", "torch.hub.load", "torch.jit.load",
    "torch.ops.load_library", "torch.classes.load_library",
}  # fmt: skip
LOAD_LIBRARIES = {"register_custom_ops_library", "load_library", "register_execution_provider_library", "add_extension", "init_libnvinfer_plugins"}  # fmt: skip
"""Of ONNX Runtime, TensorRT and OpenVINO: names of methods, on whatever object."""
ALLOWED = {
    ("runtime/distributed/flow.py", "pickle.loads"),  # what the run itself sent through its own Ray cluster
    ("runtime/distributed/worker.py", "pickle.loads"),
    (
        "benchmarks/programs/sessions.py",
        "ort.register_execution_provider_library",
    ),  # of an installed package, to compare with
}


def calls(path: Path) -> Iterator[tuple[int, str, dict[str, ast.expr] | None]]:
    """Line, what is called, and its keywords; None where it is only named, as in map(pickle.loads, ...)."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func), {word.arg: word.value for word in node.keywords if word.arg}
        elif isinstance(node, ast.Attribute):
            yield node.lineno, ast.unparse(node), None


def is_constant(value: ast.expr | None, wanted: bool) -> bool:
    return isinstance(value, ast.Constant) and value.value is wanted


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_runs_what_a_file_holds(package: str) -> None:
    problems, seen = [], 0
    for path in sorted((ROOT / package).rglob("*.py")):
        where = path.relative_to(ROOT).as_posix()
        for line, name, words in calls(path):
            seen += 1
            if (name in RUN_CODE or name.split(".")[-1] in LOAD_LIBRARIES) and (where, name) not in ALLOWED:
                problems.append(f"{where}:{line}: {name}")
            if words is None:
                continue
            if name == "torch.load" and not is_constant(words.get("weights_only"), True):
                problems.append(f"{where}:{line}: torch.load without weights_only=True")
            if (
                name in ("np.load", "numpy.load")
                and "allow_pickle" in words
                and not is_constant(words["allow_pickle"], False)
            ):
                problems.append(f"{where}:{line}: np.load unpickles")
            if "shell" in words and not is_constant(words["shell"], False):
                problems.append(f"{where}:{line}: {name} asks a shell")
    assert seen > 100, "it has looked"
    assert not problems


def test_torch_load_is_found_at_all() -> None:
    found = [
        name
        for _, name, words in calls(ROOT / "train/checkpoints/checkpoint.py")
        if name == "torch.load" and words is not None
    ]
    assert found == ["torch.load"]
