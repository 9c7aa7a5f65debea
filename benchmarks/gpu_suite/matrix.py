"""The parity suite on the GPU's sessions: narrow models that learned something, in each precision and session, beside torch."""

from __future__ import annotations

from typing import Any

from dlcv.benchmarks.gpu_suite.part import left_s, require_gpu, run_part, say, write_facts
from dlcv.runtime.errors import VerdictError

MODELS = ("fcn8s", "cnn3", "resnet18", "unet")
"""In order of worth: what the budget does not reach is cut from the end."""
PRECISIONS = ("fp32", "fp16", "int8")
WIDTH = 0.1


def main() -> None:
    """See the module."""
    budget: dict[str, Any] = {"type": float, "default": 30.0, "help": "seconds; no model begins after them"}
    run_part("matrix", lambda given: _on_the_gpu(given.budget), ("--budget", budget))


def _on_the_gpu(budget_s: float) -> dict[str, Any]:
    from dlcv.benchmarks.parity_suite.graphs import GPU

    require_gpu()
    return check(GPU, budget_s)


def check(ways: Any, budget_s: float, width: float = WIDTH) -> dict[str, Any]:
    """A line a cell; raises VerdictError where one fails, or none ran. Facts are kept model by model."""
    from dlcv.benchmarks.parity_suite.matrix import run_suite
    from dlcv.benchmarks.parity_suite.report import lines_of

    left = left_s(budget_s)
    cells: list[Any] = []
    found: dict[str, Any] = {"cells": [], "cut": []}
    for model in MODELS:
        if cells and left() <= 0:
            found["cut"].append(f"{model}, since {budget_s:.0f} s were over")
            continue
        cells += run_suite((model,), ways, PRECISIONS, width=width, say=say)
        found["cells"] = lines_of(cells)
        write_facts("matrix", found)
    for line in found["cut"]:
        say(f"cut: {line}")
    ran = [cell for cell in cells if cell.stage is not None]
    failed = [cell for cell in cells if cell.problems]
    if not ran:
        raise VerdictError("nothing ran, so nothing was compared: " + "; ".join(lines_of(cells)))
    if failed:
        raise VerdictError("; ".join(lines_of(failed)))
    say(f"{len(ran)} of {len(cells)} combinations ran, and agree with torch")
    return found


if __name__ == "__main__":
    main()
