"""A run of the suite: all gates, some by name, or those of a planted slowdown."""

from __future__ import annotations

from collections.abc import Sequence

from dlcv.benchmarks.suite.cpu import cpu_gates
from dlcv.benchmarks.suite.engines import Engines
from dlcv.benchmarks.suite.gates import PAIRS, Gate, Outcome, Say, run_gates
from dlcv.benchmarks.suite.plants import PLANTS
from dlcv.benchmarks.suite.starting import starting_gates
from dlcv.benchmarks.suite.whole import whole_gates
from dlcv.runtime.errors import UsageError


def run_suite(
    names: Sequence[str] = (), pairs: int = PAIRS, plant: str | None = None, times: float | None = None, say: Say = lambda _: None
) -> list[Outcome]:  # fmt: skip
    """Measures gates.

    Args:
        names: of gates; none: all, or those that the plant's slowdown must fail.
        pairs: of each.
        plant: a name of `PLANTS`.
        times: how many times as long the planted work takes; None: the plant's own.
        say: takes lines for people.

    Raises:
        UsageError: for an unknown name.
    """
    planted = PLANTS[plant] if plant else None
    slow = times or (planted.times if planted else 1.0)
    with Engines() as engines:
        before = planted.before(slow) if planted else ""
        gates = cpu_gates(engines) + starting_gates(before) + whole_gates(engines)
        chosen = _chosen(gates, names or (planted.gates if planted else ()))
        if planted is None:
            return run_gates(chosen, pairs, say)
        say(f"planted: {planted.what}, {slow:g} times as long")
        with planted.put(slow):
            return run_gates(chosen, pairs, say)


def _chosen(gates: Sequence[Gate], names: Sequence[str]) -> list[Gate]:
    known = {gate.name: gate for gate in gates}
    for name in names:
        if name not in known:
            raise UsageError(f"unknown gate {name!r}; known gates: {', '.join(known)}")
    return [known[name] for name in names] if names else list(gates)
