"""The gates of processes: the CPU time of starting a command or importing the library, beside the imports that it stands on."""

from __future__ import annotations

from dlcv.benchmarks.bench.result import CPU
from dlcv.benchmarks.programs.startup import (
    BARE,
    COMMANDS,
    HELP_AT_MOST,
    IMPORTS,
    cpu_of_process,
    help_statement,
    run_process,
)
from dlcv.benchmarks.suite.gates import Gate, Pairs
from dlcv.benchmarks.timing import pairs_of


def starting_gates(before: str = "") -> list[Gate]:
    """A gate for each of `IMPORTS`, and one for `--help` of each command.

    Args:
        before: Python that both processes run first: a planted slowdown.
    """
    imports = [
        _gate(name, f"`{statement}`", statement, beside, at_most, before)
        for name, (statement, beside, at_most) in IMPORTS.items()
    ]
    helps = [
        _gate(f"help-{command}", f"`{command} --help`", help_statement(command), BARE, HELP_AT_MOST, before)
        for command in COMMANDS
    ]
    return imports + helps


def _gate(name: str, ours: str, statement: str, bare: str, at_most: float, before: str) -> Gate:
    def measure(pairs: int) -> Pairs:
        pairs = max(3, pairs * 3 // 5)  # a process's CPU time hardly varies, and there are many of these gates
        a, b = pairs_of(
            lambda: run_process(before + statement), lambda: run_process(before + bare), pairs, cpu_of_process
        )
        return Pairs(tuple(a), tuple(b))

    return Gate(name, ours, f"`{bare}`", at_most, CPU, measure)
