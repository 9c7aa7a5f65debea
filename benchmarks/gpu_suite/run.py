"""Runs parts one after the other, each in a process of its own, within a budget of time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dlcv.benchmarks.gpu_suite.lacks import START, environment_for, lacks
from dlcv.benchmarks.gpu_suite.lent import lend
from dlcv.benchmarks.gpu_suite.part import FOLDER
from dlcv.benchmarks.gpu_suite.parts import TENSORRT_PYTHON, Part

RAN, FAILED, SKIPPED, CUT = "ran", "failed", "skipped", "cut"
ROOT = Path(__file__).resolve().parents[2]  # behind the links of .typing
Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What became of a part.

    Attributes:
        part: the part.
        state: `RAN`, `FAILED`, `SKIPPED` (the machine lacks something) or `CUT` (the budget).
        reason: why it did not run to its end; empty where it did.
        seconds: that it took.
        code: its exit code; None where it was not started, or was stopped.
        lines: what it printed.
    """

    part: Part
    state: str
    reason: str = ""
    seconds: float = 0.0
    code: int | None = None
    lines: tuple[str, ...] = ()

    @property
    def last_line(self) -> str:
        """That it printed."""
        return self.lines[-1] if self.lines else ""


def run_suite(
    parts: Sequence[Part], budget_s: float, say: Say, keep: Callable[[Sequence[Outcome]], object] = lambda _: None
) -> list[Outcome]:
    """Runs what fits: a part begins when what it is expected to take is left, and is stopped at its limit or at the end of the budget.

    Args:
        parts: in their order.
        budget_s: of all together.
        say: takes lines for people.
        keep: takes what there is after each part, so that a machine that is taken away takes one part's results alone.
    """
    environment, end = environment_of_parts(), time.perf_counter() + budget_s
    found = []
    for part in parts:
        left = end - time.perf_counter()
        reason = lacks(part, environment)
        if reason:
            outcome = Outcome(part, SKIPPED, reason)
        elif 60 * part.minutes > left:
            outcome = Outcome(
                part, CUT, f"it takes about {part.minutes:g} minutes, and {max(0.0, left) / 60:.1f} were left"
            )
        else:
            say(f"{part.name}: {part.command}")
            facts_path(part).unlink(missing_ok=True)  # an earlier run's
            outcome = run_one(part, environment, min(part.limit_s, left))
        found.append(outcome)
        keep(found)
        say(f"{part.name}: {outcome.state} {f'in {outcome.seconds:.0f} s' if outcome.code is not None else ''}{': ' if outcome.reason else ''}{outcome.reason}")  # fmt: skip
    return found


def facts_path(part: Part) -> Path:
    """Where a part's program keeps what it finds."""
    return FOLDER / f"{part.name}.json"


def dry_run(parts: Sequence[Part], say: Say) -> list[Outcome]:
    """Starts every part on a machine without a driver, whatever it needs; where packages are missing, it is told instead."""
    environment, found = environment_of_parts(), []
    for part in parts:
        reason = lacks(part, environment, driver=False)
        outcome = Outcome(part, SKIPPED, reason) if reason else run_one(part, environment, 1200)
        found.append(outcome)
        say(f"{part.name}: {reason or f'exit code {outcome.code}: {outcome.last_line}'}")
    return found


def run_one(part: Part, environment: Mapping[str, str], limit_s: float) -> Outcome:
    """Starts a part and waits."""
    start = time.perf_counter()
    command = ["sh", "-c", shell_command(part)]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment_for(part, environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", start_new_session=True,
    ) as process:  # fmt: skip
        try:
            text, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)  # with the processes it started: a session of its own
            text, _ = process.communicate()
            lines = tuple(filter(None, text.splitlines()))
            return Outcome(part, FAILED, f"stopped after {limit_s:.0f} s", time.perf_counter() - start, None, lines)
        except BaseException:
            os.killpg(process.pid, 9)
            raise
    lines = tuple(line for line in text.splitlines() if line.strip())
    done = process.returncode == 0
    reason = "" if done else (lines[-1] if lines else f"exit code {process.returncode}")
    return Outcome(part, RAN if done else FAILED, reason, time.perf_counter() - start, process.returncode, lines)


def shell_command(part: Part) -> str:
    """What `sh` is given: a Python of TensorRT's own is started by `start.py`, since a wrapper around it may set a `PYTHONPATH` of its own."""
    own = TENSORRT_PYTHON.replace(":-python}", ':-"$DLCV_PYTHON"}')
    command = part.command.replace(f"{TENSORRT_PYTHON} -m", f'{own} "$DLCV_START"', 1)
    return command if command != part.command else command.replace("python -m", '"$DLCV_PYTHON" -m', 1)


def environment_of_parts() -> dict[str, str]:
    """Where dlcv is found uninstalled, also by a Python of TensorRT's own; nothing is fetched."""
    own = os.environ.get("PYTHONPATH", "")
    typing = str(ROOT / ".typing")
    extra = [typing]
    if os.environ.get("DLCV_TENSORRT_PYTHON"):
        lend(FOLDER / "lent")
        extra.append(str((FOLDER / "lent").absolute()))
    return os.environ | {
        "DLCV_PYTHON": sys.executable,
        "DLCV_START": str(START),
        "DLCV_GPU_SUITE": str(FOLDER.absolute()),
        "PYTHONPATH": os.pathsep.join(filter(None, [typing, own])),
        "DLCV_EXTRA_PYTHONPATH": os.pathsep.join(extra),
        "PYTHONUNBUFFERED": "1",
    }


NO_DRIVER = "no NVIDIA driver (libcuda.so.1)"
NO_GPU_IN_TORCH = "torch sees no GPU for the device cuda; use --device cpu"


def endings(outcome: Outcome) -> list[str]:
    """What a part ended with: its last line, or of tests the reasons why they were skipped."""
    skipped = {line.partition(": ")[2] for line in outcome.lines if line.startswith("SKIPPED")}
    return sorted(skipped) or [outcome.last_line or outcome.reason]


def ended_early(outcomes: Sequence[Outcome]) -> list[str]:
    """The parts of a dry run that ended elsewhere than at the missing driver, or never began."""
    return [outcome.part.name for outcome in outcomes if not _ended_well(outcome)]


def _ended_well(outcome: Outcome) -> bool:
    if not outcome.part.driver:
        return outcome.code == 0
    tests = " pytest " in outcome.part.command
    if outcome.code is None or (outcome.code == 0) != tests:
        return False
    return all(NO_DRIVER in line or line.endswith(NO_GPU_IN_TORCH) for line in endings(outcome))
