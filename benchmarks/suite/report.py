"""Outcomes as a table for people, and as a result in the schema of dlcv-bench, so that `dlcv-bench --compare` takes two of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlcv.benchmarks.bench.result import OURS, Case, Engine, Lane, Result, Timing
from dlcv.benchmarks.suite.gates import Outcome
from dlcv.runtime.tables import markdown_table


def table(outcomes: Sequence[Outcome], earlier: Mapping[str, float] | None = None) -> str:
    """A row a gate, as Markdown.

    Args:
        outcomes: of a run.
        earlier: the medians of another run, by gate, to stand beside them.
    """
    header = ["gate", "ours", "beside", "ours / beside, median (quartiles)", "at most", "holds"]
    rows = []
    for one in outcomes:
        ratio = "-" if one.pairs is None else str(one.pairs.ratio)
        verdict = "not measured" if one.pairs is None else "yes" if one.passed else "NO"
        row = [one.gate.name, one.gate.ours, one.gate.other, ratio, f"{one.gate.at_most:g}", verdict]
        if earlier is not None:
            before = earlier.get(one.gate.name)
            known = before is not None and one.pairs is not None
            row += [f"{before:.2f}" if before is not None else "-", _change(one, before) if known else "-"]
        rows.append(row)
    return markdown_table(header + (["earlier", "difference"] if earlier is not None else []), rows)


def _change(one: Outcome, before: float | None) -> str:
    assert one.pairs is not None and before is not None
    return f"{one.pairs.ratio.median / before - 1:+.0%}"


def result_of(outcomes: Sequence[Outcome], environment: Mapping[str, Any]) -> Result:
    """As a result of dlcv-bench: a case a gate; `settings["gates"]` holds ratios, bounds and verdicts."""
    gates = {one.gate.name: _facts(one) for one in outcomes}
    cases = tuple(_case(one) for one in outcomes if one.pairs is not None)
    left_out = {one.gate.name: one.gate.missing for one in outcomes if one.pairs is None}
    return Result(environment, {"suite": "ci", "gates": gates}, cases, left_out)


def medians(result: Result) -> dict[str, float]:
    """The ratios of a result of this suite, by gate; empty for another one's."""
    gates = result.settings.get("gates", {})
    return {name: facts["median"] for name, facts in gates.items() if facts.get("median") is not None}


def _facts(one: Outcome) -> dict[str, Any]:
    gate = {"ours": one.gate.ours, "other": one.gate.other, "at_most": one.gate.at_most, "sentence": one.sentence}
    if one.pairs is None:
        return gate | {"passed": None}
    ratio = one.pairs.ratio
    return gate | {
        "passed": one.passed, "median": ratio.median, "low": ratio.low, "high": ratio.high, "pairs": ratio.pairs,
        "repeated": one.earlier is not None,
    }  # fmt: skip


def _case(one: Outcome) -> Case:
    assert one.pairs is not None
    lanes = {OURS: _lane(one.pairs.ours_s), one.gate.other: _lane(one.pairs.other_s)}
    engine = Engine(one.gate.name, "", "", "", "", (0, 0))
    return Case(engine, "cpu", "gate", "", 1, one.gate.ours, {one.gate.kind: Timing(lanes)})


def _lane(seconds: Sequence[float]) -> Lane:
    return Lane(tuple(value * 1000 for value in seconds))
