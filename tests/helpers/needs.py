"""`DLCV_NEEDS="chromium openvino ray"`: nothing is skipped because one of these is missing; the run of tests fails instead.

`.ci/run` names what it has installed, so that a wheel that vanishes, or one that cannot be imported, does not take tests with it unseen.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Sequence
from typing import Any

import pytest
from chromium import find_chromium


def insist(needed: Sequence[str]) -> None:
    """On modules by the names they are imported by, and on `chromium`.

    Raises:
        pytest.UsageError: when one is missing.
    """
    missing = [name for name in needed if not _is_there(name)]
    if missing:
        raise pytest.UsageError(
            f"DLCV_NEEDS names what is missing, for which tests would be skipped: {' '.join(missing)}"
        )
    real = pytest.importorskip

    def importorskip(name: str, *args: Any, **options: Any) -> Any:
        if name.partition(".")[0] in needed:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # as pytest's own
                return importlib.import_module(name)
        return real(name, *args, **options)

    pytest.importorskip = importorskip  # type: ignore[assignment]


def _is_there(name: str) -> bool:
    return find_chromium() is not None if name == "chromium" else importlib.util.find_spec(name) is not None
