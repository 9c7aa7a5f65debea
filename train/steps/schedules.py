"""How the learning rate changes over a run: a linear warm-up, and one of `SCHEDULES` over all of it. No torch here."""

from __future__ import annotations

import math
import re

SCHEDULES = ("poly", "cosine", "constant")
AUTOMATIC = "auto"
_WARM_UP_STEPS = 100
_POWER = 0.9


def share_of_rate(schedule: str, step: int, total: int, warm_up: int) -> float:
    """The share, 0 to 1, of the highest learning rate that a step is made at.

    Args:
        schedule: `poly` (Chen et al. 2017, "DeepLab", power 0.9) and `cosine` (Loshchilov and Hutter 2017, "SGDR", without
            restarts) fall to 0 at `total`; `constant` stays.
        step: from 0.
        total: steps of the run, at least 1.
        warm_up: steps over which the share rises linearly; 0 for none.

    Raises:
        ValueError: for a name that is not in `SCHEDULES`.
    """
    rise = min(1.0, (step + 1) / warm_up) if warm_up else 1.0
    if schedule == "poly":
        fall: float = max(0.0, 1 - step / total) ** _POWER
    elif schedule == "cosine":
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))
    elif schedule == "constant":
        fall = 1.0
    else:
        raise ValueError(f"unknown schedule {schedule!r}; known: {', '.join(SCHEDULES)}")
    return rise * fall


def warm_up_steps(warmup: str, *, total: int, per_epoch: int) -> int:
    """Steps of warm-up: `auto` is 100, of a short run a tenth; `500` is in steps, `2epochs` in epochs.

    Raises:
        ValueError: for any other text, or more than the run has steps.
    """
    if warmup == AUTOMATIC:
        return min(_WARM_UP_STEPS, total // 10 + 1)
    typed = re.fullmatch(r"(\d+)(epochs?)?", warmup, re.ASCII)
    if typed is None:
        raise ValueError(
            f"--warmup {warmup!r}: expected auto, a number of steps such as 500, or epochs such as 2epochs"
        )
    return int(typed[1]) * (per_epoch if typed[2] else 1)
