"""A run of the suite: all gates, some by name, or those of a planted slowdown."""

from __future__ import annotations

from collections.abc import Sequence

from dlcv.benchmarks.suite.gates import PAIRS, Gate, Outcome, Say, run_gates
from dlcv.benchmarks.suite.measures import Engines, engine_gates
from dlcv.benchmarks.suite.plants import PLANTS
from dlcv.benchmarks.suite.starting import starting_gates
from dlcv.runtime.errors import UsageError


def run_suite(
    names: Sequence[str] = (), pairs: int = PAIRS, plant: str | None = None, say: Say = lambda _: None
) -> list[Outcome]:
    """Measures gates.

    Args:
        names: of gates; none: all, or those that the plant's slowdown must fail.
        pairs: of each.
        plant: a name of `PLANTS`.
        say: takes lines for people.

    Raises:
        UsageError: for an unknown name.
    """
    planted = PLANTS[plant] if plant else None
    with Engines() as engines:
        gates = engine_gates(engines) + starting_gates(planted.before if planted else "")
        chosen = _chosen(gates, names or (planted.gates if planted else ()))
        if planted is None:
            return run_gates(chosen, pairs, say)
        say(f"planted: {planted.what}")
        with planted.put():
            return run_gates(chosen, pairs, say)


def _chosen(gates: Sequence[Gate], names: Sequence[str]) -> list[Gate]:
    known = {gate.name: gate for gate in gates}
    for name in names:
        if name not in known:
            raise UsageError(f"unknown gate {name!r}; known gates: {', '.join(known)}")
    return [known[name] for name in names] if names else list(gates)
