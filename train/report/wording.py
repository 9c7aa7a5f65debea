"""How a report words what it shows: numbers, settings, columns, minutes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from dlcv.train.report.record import number

_FIRST = (
    "model", "width", "init", "data", "dataset", "crop", "batch", "epochs", "optimizer", "learning-rate", "schedule", "loss",
    "balanced-sampling", "seed",
)  # fmt: skip


def minutes(rows: Iterable[Mapping[str, str]]) -> float:
    """How long the epochs of a history took together."""
    return math.fsum(value for row in rows if math.isfinite(value := number(row, "seconds"))) / 60


def ordered(settings: Mapping[str, Any]) -> list[str]:
    """Names of settings, what one asks for first in front."""
    return sorted(settings, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST))


def words(column: str) -> str:
    """A column's name for people: `mean_iou` -> `mean IoU`."""
    return column.replace("_", " ").replace("iou", "IoU")


def shown_number(value: float) -> str:
    """`0.6920`; a dash for what is not a number."""
    return f"{value:.4f}" if math.isfinite(value) else "\N{EN DASH}"


def shown_setting(value: Any) -> str:
    """A setting as it would stand in TOML; empty texts and lists as a dash."""
    if value in ("", [], (), {}, None):
        return "\N{EN DASH}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
