"""Pickles that nobody should load."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


class RunsCode:
    """Unpickled, it makes a folder.

    Args:
        marker: the folder.
    """

    def __init__(self, marker: Path) -> None:
        self._marker = str(marker)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self._marker,)
