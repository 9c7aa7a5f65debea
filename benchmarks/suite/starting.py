"""The gates of processes: what starting a command or importing the library costs beside the imports that it stands on."""

from __future__ import annotations

from dlcv.benchmarks.bench.result import COLD
from dlcv.benchmarks.startup import BARE, COMMANDS, LIBRARIES, help_statement, run_process
from dlcv.benchmarks.suite.gates import Gate, Pairs
from dlcv.benchmarks.timing import pairs_of

HELP_AT_MOST = 1.5
"""What the project promises; 1.2 was seen."""
IMPORTS = {"import": ("import dlcv.runtime", 0.5), "load": ("from dlcv.runtime import load", 1.2)}
"""Statement and bound. The first imports none of the libraries (0.2 was seen), the second takes what it stands on (0.9)."""


def starting_gates(before: str = "") -> list[Gate]:
    """A gate for each of `IMPORTS`, and one for `--help` of each command.

    Args:
        before: Python that both processes run first: a planted slowdown.
    """
    imports = [
        _gate(name, f"`{statement}`", statement, LIBRARIES, at_most, before)
        for name, (statement, at_most) in IMPORTS.items()
    ]
    helps = [
        _gate(f"help-{command}", f"`{command} --help`", help_statement(command), BARE, HELP_AT_MOST, before)
        for command in COMMANDS
    ]
    return imports + helps


def _gate(name: str, ours: str, statement: str, bare: str, at_most: float, before: str) -> Gate:
    def measure(pairs: int) -> Pairs:
        a, b = pairs_of(lambda: run_process(before + statement), lambda: run_process(before + bare), pairs)
        return Pairs(tuple(a), tuple(b))

    return Gate(name, ours, f"`{bare}`", at_most, COLD, measure)
