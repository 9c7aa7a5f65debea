"""Models of the user's own: the classes of a Python file join the registry under their names, for this process.

The file is named by the user with `--model-file`, and is run as any Python file is. Nothing else is: a checkpoint names its model, never a file.
"""

from __future__ import annotations

import math
import re
import sys
import traceback
from collections.abc import Iterator
from hashlib import sha256
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

from dlcv.runtime.card.card import MAX_CLASSES
from dlcv.runtime.errors import UsageError, one_line, reason_of
from dlcv.train.models.registry import MODELS, ModelEntry

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,60}")
"""Files are called after the model."""


def use_models(path: Path) -> list[str]:
    """Runs a Python file and makes its models known: each public class or function with `task = "segmentation"` or `"classification"`.

    Other attributes of such a class: `model_name`, else its name in lower case; `size_divisor`, 1; `mean_rgb` and `std_rgb` in
    8-bit levels (0..255), ImageNet's; `summary`.

    Args:
        path: of the file. What lies beside it can be imported at its top.

    Returns:
        The names, in the file's order.

    Raises:
        UsageError: when it cannot be run, has no model, or a model's attributes are no good.
    """
    module = _run(path)
    entries = dict(_entry(path, module, name, value) for name, value in _marked(module))
    if not entries:
        raise UsageError(
            f'--model-file {path} has no model; expected a class with task = "segmentation" or "classification", as docs/models.md shows'
        )
    MODELS.update(entries)
    return list(entries)


def _run(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"there is no file {path}; --model-file expects a Python file with models")
    where = path.absolute()
    name = f"dlcv_models_{sha256(str(where).encode()).hexdigest()[:12]}"
    spec = spec_from_loader(name, SourceFileLoader(name, str(where)))
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)
    folder = str(where.parent)
    # Its folder is last, and there only meanwhile: nothing in it takes the place of a package, or of one that a library looks for later.
    sys.path.append(folder)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(where)]
        at = f", line {lines[-1]}" if lines else ""
        raise UsageError(
            f"--model-file {path}{at}: {type(error).__name__}: {one_line(reason_of(error))[:300]}"
        ) from error
    finally:
        if folder in sys.path:  # the last of them is ours; what the file added for itself stays
            del sys.path[len(sys.path) - 1 - sys.path[::-1].index(folder)]
    return module


def _marked(module: ModuleType) -> Iterator[tuple[str, Any]]:
    for name, value in vars(module).items():
        if not name.startswith("_") and callable(value) and isinstance(getattr(value, "task", None), str):
            yield name, value


def _entry(path: Path, module: ModuleType, attribute: str, value: Any) -> tuple[str, ModelEntry]:
    what = f"{attribute} in {path}"
    name, divisor = getattr(value, "model_name", attribute.lower()), getattr(value, "size_divisor", 1)
    if value.task not in MAX_CLASSES:
        raise UsageError(f"{what} has task = {value.task!r}, expected {' or '.join(map(repr, MAX_CLASSES))}")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(f"{what} is called {name!r}; expected small letters, digits, dots and dashes: set model_name")
    home = f"{module.__name__}:{attribute}"
    if name in MODELS and MODELS[name].home != home:
        raise UsageError(f"{what} is called {name}, as a model that is known already; set another model_name")
    if not isinstance(divisor, int) or isinstance(divisor, bool) or divisor < 1:
        raise UsageError(f"{what} has size_divisor = {divisor!r}, expected a whole number from 1")
    known = ModelEntry(home, value.task, divisor, str(getattr(value, "summary", "")), own=True)
    mean, std = (
        _three(what, key, getattr(value, key, default))
        for key, default in (("mean_rgb", known.mean_rgb), ("std_rgb", known.std_rgb))
    )
    if min(std) <= 0:
        raise UsageError(f"{what} has std_rgb = {std}, expected numbers above 0")
    return name, ModelEntry(home, value.task, divisor, known.summary, own=True, mean_rgb=mean, std_rgb=std)


def _three(what: str, key: str, value: Any) -> tuple[float, float, float]:
    try:
        red, green, blue = map(float, value)
    except (TypeError, ValueError):
        red = green = blue = math.nan
    if not all(map(math.isfinite, (red, green, blue))):
        raise UsageError(f"{what} has {key} = {value!r}, expected three numbers in 8-bit levels (0 to 255)")
    return red, green, blue
