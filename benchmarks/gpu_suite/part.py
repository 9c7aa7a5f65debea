"""What the programs of parts share. Without click: some run in a Python that has numpy, TensorRT and pycuda alone."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dlcv.runtime.errors import DlcvError, EngineError, one_line
from dlcv.runtime.sessions.cuda import driver_problem

FOLDER = Path(os.environ.get("DLCV_GPU_SUITE", "gpu-suite"))
"""Where graphs, plans and facts are kept between parts."""


def require_gpu() -> None:
    """Raises EngineError where no NVIDIA driver answers, or it has no GPU."""
    if problem := driver_problem():
        raise EngineError(f"this machine has {problem}")


def run_part(name: str, work: Callable[[argparse.Namespace], dict[str, Any]], *arguments: tuple[str, dict[str, Any]]) -> None:  # fmt: skip
    """The `main` of a part: what it finds goes to `FOLDER/NAME.json`; an error is one line, with its exit code.

    Args:
        name: of the part's program.
        work: takes the parsed arguments; returns the facts, as JSON values.
        arguments: names and keywords for `ArgumentParser.add_argument`.
    """
    parser = argparse.ArgumentParser(prog=name, description=sys.modules[work.__module__].__doc__)
    for argument, keywords in arguments:
        parser.add_argument(argument, **keywords)
    given = parser.parse_args()
    try:
        FOLDER.mkdir(parents=True, exist_ok=True)
        facts = work(given)
    except DlcvError as error:
        print(f"{name}: {one_line(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    write_facts("-".join([name, *_words(given)]), facts)


def _words(given: argparse.Namespace) -> list[str]:
    return [value for value in vars(given).values() if isinstance(value, str)]


def write_facts(name: str, facts: dict[str, Any]) -> None:
    """Keeps what a part found."""
    (FOLDER / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n")


def left_s(budget_s: float) -> Callable[[], float]:
    """What is left of a budget that begins now, in seconds."""
    end = time.perf_counter() + budget_s
    return lambda: end - time.perf_counter()


def say(line: str) -> None:
    """A line for people."""
    print(one_line(line), flush=True)


def median_s(work: Callable[[], object], calls: int = 20, warm: int = 3) -> float:
    """Seconds of one call, the median of some, after some that do not count."""
    for _ in range(warm):
        work()
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
