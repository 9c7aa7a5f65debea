"""torch's exporter reads its table of operators from their source text at each export, a second of a core: here it is read once a process.

The tables are torch's own and the same for one opset; each export gets copies of the lists in it, since it may add to them.
"""

from __future__ import annotations

import functools
import importlib
import logging
import sys
from typing import Any

MODULE = "torch.onnx._internal.exporter._registration"
"""One of torch's own: a torch without it, or with other names in it, reads its table as often as it likes."""


def read_once() -> None:
    """Where the exporter is imported; each later export of this process takes what the first one has read."""
    registry = getattr(sys.modules.get(MODULE), "ONNXRegistry", None)
    read: Any = getattr(registry, "from_torchlib", None)
    if not hasattr(read, "__func__") or hasattr(read, "__wrapped__"):
        return

    @functools.cache
    def table(operators: int, *args: Any, **kwargs: Any) -> Any:
        return read(*args, **kwargs)

    @functools.wraps(read.__func__)
    def from_torchlib(cls: Any, *args: Any, **kwargs: Any) -> Any:
        # what is imported meanwhile may bring operators, such as torch.ao's of quantised networks, and torch reads what is there
        known, made = table(operators(), *args, **kwargs), cls()
        vars(made).update(vars(known))
        made.functions = {target: list(decompositions) for target, decompositions in known.functions.items()}
        return made

    registry.from_torchlib = classmethod(from_torchlib)  # type: ignore[union-attr]


def operators() -> int:
    """How many torch knows now."""
    import torch

    return len(torch._C._dispatch_get_all_op_names())


def read_now(opset: int) -> None:
    """Imports the exporter, where there is one, and reads its table for this opset: for a process whose forks export."""
    try:
        module = importlib.import_module(MODULE)
    except ImportError:
        return
    read_once()
    if hasattr(module, "ONNXRegistry"):
        logging.disable(logging.WARNING)  # that torchvision is not installed
        module.ONNXRegistry.from_torchlib(opset_version=opset)
        logging.disable(logging.NOTSET)
