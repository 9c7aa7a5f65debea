"""A gate: one ratio, ours over something beside it, its bound, and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dlcv.benchmarks.timing import PairedRatio, ratio_of_pairs

PAIRS = 15
REPEAT = 2
"""A gate that fails is measured once more, with this many times the pairs: noise that passes is no slowdown."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Pairs:
    """Seconds of two ways; the k-th of either were measured next to each other."""

    ours_s: tuple[float, ...]
    other_s: tuple[float, ...]

    @property
    def ratio(self) -> PairedRatio:
        """Ours over the other."""
        return ratio_of_pairs(self.ours_s, self.other_s)


@dataclass(frozen=True)
class Gate:
    """A ratio with a bound.

    Attributes:
        name: for the command line.
        ours, other: the two ways.
        at_most: the bound of ours / other. It has room for a noisy machine.
        kind: which time it is of: a key of `bench.result.KINDS`.
        measure: how many pairs -> their seconds.
        missing: why it cannot be measured here; empty where it can.
    """

    name: str
    ours: str
    other: str
    at_most: float
    kind: str
    measure: Callable[[int], Pairs]
    missing: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a gate gave; `pairs` is None where it could not be measured; `earlier`: the ratio that was repeated."""

    gate: Gate
    pairs: Pairs | None
    earlier: PairedRatio | None = None

    @property
    def passed(self) -> bool:
        """Whether the gate holds; one that was not measured fails nothing."""
        return self.pairs is None or holds(self.pairs.ratio, self.gate.at_most)

    @property
    def sentence(self) -> str:
        """The verdict."""
        gate = self.gate
        if self.pairs is None:
            return f"{gate.name}: not measured: {gate.missing}"
        ratio = self.pairs.ratio
        found = f"{gate.ours} takes {ratio} times as long as {gate.other}"
        if self.passed:
            return f"{gate.name}: {found}; at most {gate.at_most:g}"
        again = f", and {self.earlier} before that" if self.earlier else ""
        return (
            f"{gate.name} failed: {found}{again}; expected at most {gate.at_most:g}, and even the quartile on the good side is "
            f"beyond it: find what became slower, or run it again on a quieter machine with --gate {gate.name}"
        )


def holds(ratio: PairedRatio, at_most: float) -> bool:
    """Whether the favourable quartile is within the bound; NaN is not."""
    return ratio.low <= at_most


def run_gate(gate: Gate, pairs: int = PAIRS, say: Say = lambda _: None) -> Outcome:
    """Measures a gate, and once more, with more pairs, before it fails."""
    if gate.missing:
        return Outcome(gate, None)
    first = gate.measure(pairs)
    if holds(first.ratio, gate.at_most):
        return Outcome(gate, first)
    say(f"{gate.name}: {first.ratio}, above {gate.at_most:g}; measured again with {pairs * REPEAT} pairs")
    return Outcome(gate, gate.measure(pairs * REPEAT), first.ratio)


def run_gates(gates: Sequence[Gate], pairs: int = PAIRS, say: Say = lambda _: None) -> list[Outcome]:
    """All gates, in their order; a line for each as it ends."""
    outcomes = []
    for gate in gates:
        outcomes.append(run_gate(gate, pairs, say))
        say(outcomes[-1].sentence)
    return outcomes
