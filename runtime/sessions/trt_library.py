"""TensorRT's libraries and what differs between them: `tensorrt` 8.6 to 11, `tensorrt_lean` and `tensorrt_rtx`.

Both the session and the exporter use it. Nothing is imported before `find_library` is called.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from dlcv.runtime.card.plan_header import INSTALL
from dlcv.runtime.errors import EngineError

MODULES = {"tensorrt": ("tensorrt", "tensorrt_lean"), "tensorrt-rtx": ("tensorrt_rtx",)}
"""The modules that run a plan of each kind, the preferred first; the first one of each also builds."""
_KEPT_MESSAGES = 100
_KERNELS = "Layers:\nName: "
"""TensorRT-RTX's builder begins the list of a plan's kernels so, where it was asked for details."""


@dataclass(frozen=True)
class TrtLibrary:
    """An imported TensorRT library.

    Attributes:
        name: of the module, such as `tensorrt_rtx`.
        module: the module.
        version: such as `1.7.1.116`.
    """

    name: str
    module: Any
    version: str

    @property
    def is_rtx(self) -> bool:
        return self.name == "tensorrt_rtx"

    @property
    def log(self) -> Any:
        """The library's one logger in this process: TensorRT keeps the first that it is given for all later objects."""
        return _log_of(self.module)


def find_library(name: str) -> tuple[TrtLibrary | None, str]:
    """Imports a TensorRT library.

    Returns:
        The library and an empty text, or None and what is wrong: `is not installed`, or `is installed and cannot be
        loaded (why)`.
    """
    try:
        module = import_module(name)
        return TrtLibrary(name, module, str(module.__version__)), ""
    except (
        Exception
    ) as error:  # a library with missing parts fails in many ways: OSError, RuntimeError, AttributeError, ...
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            return None, "is not installed"
        return None, f"is installed and cannot be loaded ({_why(error)})"


def _why(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    missing = re.search(r"lib(?:cudart|cublas|cublasLt|nvrtc|cudnn|nvJitLink)\.so\.(\d+)", text)
    # cuDNN is numbered by its own releases, the others by CUDA's
    if missing and "cudnn" not in missing[0]:
        text += f"; it is built for CUDA {missing[1]}, which is not here: take the package that ends in -cu and this machine's CUDA"
    return text


def library_for(kind: str, *, lean_first: bool = False) -> TrtLibrary | None:
    """The first library that imports here and runs plans of `kind` (see `MODULES`); None where none is installed.

    Args:
        kind: `tensorrt` or `tensorrt-rtx`.
        lean_first: prefers the lean runtime, which runs version-compatible plans of older releases.

    Raises:
        EngineError: when one is installed, cannot be loaded, and no other is there.
    """
    broken = ""
    for name in reversed(MODULES[kind]) if lean_first else MODULES[kind]:
        library, problem = find_library(name)
        if library is not None:
            return library
        if problem != "is not installed":
            broken = broken or f"{name} {problem}"
    if broken:
        raise EngineError(f"{broken}; install it again with: {INSTALL[kind]}")
    return None


@cache
def _log_of(module: Any) -> Any:
    class KeptLog(module.ILogger):  # type: ignore[misc]
        """Keeps the latest warnings and errors, and the list of a plan's kernels; nothing goes to the terminal."""

        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.warnings: deque[str] = deque(maxlen=_KEPT_MESSAGES)
            self.errors: deque[str] = deque(maxlen=_KEPT_MESSAGES)
            self.kernels = ""

        def log(self, severity: Any, msg: str) -> None:
            if severity in (module.ILogger.INTERNAL_ERROR, module.ILogger.ERROR):
                self.errors.append(" ".join(msg.split()))
            elif severity == module.ILogger.WARNING:
                self.warnings.append(" ".join(msg.split()))
            elif msg.startswith(_KERNELS):
                self.kernels = msg

        def clear(self) -> None:
            self.warnings.clear()
            self.errors.clear()
            self.kernels = ""

        def last_error(self) -> str:
            return self.errors[-1] if self.errors else "TensorRT gave no reason"

    return KeptLog()
