"""The lean runtime: engines run on folders of tiles, without torch and without onnx.

What is promised is listed in `__all__` and loaded on first use, so that a submodule can be imported where cv2, click or
ONNX Runtime are absent:

    from dlcv.runtime import load
    with load("fcn8s.onnx") as model:
        masks = model(images)
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from dlcv.runtime.version import __version__

if TYPE_CHECKING:
    from dlcv.runtime.card.card import ModelCard
    from dlcv.runtime.card.reader import read_card
    from dlcv.runtime.errors import DlcvError, TileError
    from dlcv.runtime.model.model import Model, load
    from dlcv.runtime.sessions import Session, open_session

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
"""ONNX Runtime 1.31 reports to its maker and keeps a number and a database in the home folder, unless this stands when it is imported;
`disable_telemetry_events` comes too late for that. Who wants it sets the variable to 0.
"""

_HOME = {
    "DlcvError": "dlcv.runtime.errors",
    "Model": "dlcv.runtime.model.model",
    "ModelCard": "dlcv.runtime.card.card",
    "Session": "dlcv.runtime.sessions",
    "TileError": "dlcv.runtime.errors",
    "load": "dlcv.runtime.model.model",
    "open_session": "dlcv.runtime.sessions",
    "read_card": "dlcv.runtime.card.reader",
}

__all__ = [
    "DlcvError", "Model", "ModelCard", "Session", "TileError", "__version__", "load", "open_session", "read_card",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dlcv.runtime' has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value
