"""What a gate says of numbers that are given: it fails only when the favourable quartile is beyond the bound, twice."""

from __future__ import annotations

import json

import pytest

from dlcv.benchmarks.bench.compare import compare
from dlcv.benchmarks.bench.result import HOST, from_json, to_json
from dlcv.benchmarks.suite.cpu import cpu_pairs
from dlcv.benchmarks.suite.gates import Gate, Pairs, run_gate
from dlcv.benchmarks.suite.report import medians, result_of, table
from dlcv.runtime.errors import EngineError


def gate(*ratios: tuple[float, ...], at_most: float = 1.2, missing: str = "") -> tuple[Gate, list[int]]:
    """A gate whose measurements are these ratios, one after the other, and the pairs that it was asked for."""
    asked: list[int] = []

    def measure(pairs: int) -> Pairs:
        asked.append(pairs)
        found = ratios[len(asked) - 1]
        return Pairs(found, (1.0,) * len(found))

    return Gate("g", "ours", "theirs", at_most, HOST, measure, missing), asked


def test_a_gate_within_its_bound_is_measured_once() -> None:
    given, asked = gate((0.9, 1.0, 1.1, 1.0))
    outcome = run_gate(given, 4)
    assert outcome.passed and asked == [4]
    assert outcome.sentence == "g: ours takes 1.00 (0.93 to 1.08, 4 pairs) times as long as theirs; at most 1.2"


def test_noise_above_the_bound_is_no_failure() -> None:
    """The median is beyond, the quartile on the good side is not."""
    given, asked = gate((1.0, 1.3, 1.4, 2.0))
    assert run_gate(given, 4).passed and asked == [4]


def test_a_slow_moment_is_measured_again_with_more_pairs() -> None:
    given, asked = gate((3.0,) * 4, (1.0,) * 8)
    outcome = run_gate(given, 4)
    assert outcome.passed and asked == [4, 8]


def test_what_stays_slow_fails_and_says_so() -> None:
    given, asked = gate((3.0,) * 4, (2.0,) * 8)
    outcome = run_gate(given, 4)
    assert not outcome.passed and asked == [4, 8]
    assert outcome.sentence == (
        "g failed: ours takes 2.00 (2.00 to 2.00, 8 pairs) times as long as theirs, and 3.00 (3.00 to 3.00, 4 pairs) before that; "
        "expected at most 1.2, and even the quartile on the good side is beyond it: find what became slower, or run it again on a "
        "quieter machine with --gate g"
    )


def test_nan_is_no_pass() -> None:
    given, _ = gate((float("nan"),) * 4, (float("nan"),) * 8)
    assert not run_gate(given, 4).passed


def test_what_cannot_be_measured_is_said() -> None:
    given, asked = gate(missing="pip install openvino")
    outcome = run_gate(given, 4)
    assert outcome.passed and asked == []
    assert outcome.sentence == "g: not measured: pip install openvino"
    assert "not measured" in table([outcome])


def test_a_library_that_fails_beside_ours_is_told() -> None:
    def broken() -> None:
        raise RuntimeError("out of memory")

    with pytest.raises(EngineError, match=r"^what the gate stands beside cannot be run: out of memory$"):
        cpu_pairs(lambda: None, broken, 3)


def test_the_result_is_one_of_dlcv_bench() -> None:
    """It is read back and compared by the same code."""
    outcomes = [run_gate(gate((1.0, 1.1, 1.05) * 5)[0], 15), run_gate(gate(missing="no")[0], 15)]
    text = to_json(result_of(outcomes, {"cpu": "x", "cores": 2, "gpu": "", "system": "s", "versions": {}}))
    result = from_json(text, "suite.json")
    assert json.loads(text)["settings"]["gates"]["g"]["passed"] is None  # the later of the same name
    assert [case.engine.name for case in result.cases] == ["g"]
    assert compare(result, result).changes


def test_an_earlier_run_stands_beside() -> None:
    outcomes = [run_gate(gate((1.1,) * 4)[0], 4)]
    earlier = medians(result_of([run_gate(gate((1.0,) * 4)[0], 4)], {}))
    assert earlier == pytest.approx({"g": 1.0})
    assert table(outcomes, earlier).splitlines()[-1].replace(" ", "").endswith("|yes|1.00|+10%|")
