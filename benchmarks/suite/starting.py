"""The gates of processes: what starting a command or importing the library costs beside the imports that it stands on."""

from __future__ import annotations

from dlcv.benchmarks.bench.result import COLD
from dlcv.benchmarks.startup import BARE, COMMANDS, LIBRARIES, help_statement, run_process
from dlcv.benchmarks.suite.gates import Gate, Pairs
from dlcv.benchmarks.timing import pairs_of

HELP_AT_MOST, IMPORT_AT_MOST = 1.5, 1.2
"""What the project promises; 1.2 and 0.9 were seen."""
IMPORTS = {"import": "import dlcv.runtime", "load": "from dlcv.runtime import load"}


def starting_gates(before: str = "") -> list[Gate]:
    """A gate for each of `IMPORTS`, and one for `--help` of each command.

    Args:
        before: Python that both processes run first: a planted slowdown.
    """
    imports = [
        _gate(name, f"`{statement}`", statement, LIBRARIES, IMPORT_AT_MOST, before)
        for name, statement in IMPORTS.items()
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
