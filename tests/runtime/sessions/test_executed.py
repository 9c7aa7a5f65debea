"""Whether what ran is what was asked for, on operators made up here."""

from __future__ import annotations

import pytest

from dlcv.runtime.errors import PrecisionError
from dlcv.runtime.sessions.executed import BESIDE, Executed, Operator


def ran(**shares: int) -> Executed:
    return Executed("Lib 1 on CPU", tuple(Operator(f"conv_{k}", "Conv", k, n) for k, n in shares.items()))


@pytest.mark.parametrize(
    ("computes", "shares", "problem"),
    [
        ("fp32", {"fp32": 10}, ""),
        ("fp32", {"fp32": 99, "bf16": 1}, "Lib 1 on CPU runs 1.0% of the multiply-adds in less than fp32: conv_bf16 in bf16"),
        ("fp32", {"tf32": 10}, "Lib 1 on CPU runs 100.0% of the multiply-adds in less than fp32: conv_tf32 in tf32"),
        ("fp32", {"mystery": 10}, "Lib 1 on CPU runs 100.0% of the multiply-adds in less than fp32: conv_mystery in mystery"),
        ("tf32", {"tf32": 10}, ""),
        ("tf32", {"tf32": 1, "fp32": 9}, ""),
        ("fp16", {"fp16": 6, "fp32": 4}, ""),
        ("fp16", {"fp16": 9, "bf16": 1}, "Lib 1 on CPU runs 10.0% of the multiply-adds in less than fp16: conv_bf16 in bf16"),
        ("bf16", {"bf16": 6, "fp32": 4}, ""),
        ("bf16", {"bf16": 4, "fp32": 6}, "Lib 1 on CPU runs 40.0% of the multiply-adds in bf16, expected at least 50%"),
        ("int8", {"int8": 5, "fp32": 2, "bf16": 3}, ""),
        ("int8", {"fp32": 10}, "Lib 1 on CPU runs 0.0% of the multiply-adds in int8, expected at least 50%"),
    ],
)  # fmt: skip
def test_what_ran_against_what_was_asked_for(computes: str, shares: dict[str, int], problem: str) -> None:
    assert ran(**shares).problems(computes) == ([problem] if problem else [])
    if problem:
        with pytest.raises(PrecisionError) as caught:
            ran(**shares).require(computes, "a.onnx")
        assert str(caught.value) == f"a.onnx is to be computed in {computes}, and {problem}"


def test_what_is_asked_for_is_always_allowed() -> None:
    assert all(ran(**{name: 1}).problems(name) == [] for name in BESIDE)


def test_nothing_with_multiply_adds_proves_nothing() -> None:
    assert ran().problems("int8") == [] and ran().share("int8") == 0


def test_the_largest_are_named_and_the_others_counted() -> None:
    many = Executed("Lib", tuple(Operator(f"c{k}", "Conv", "bf16", k) for k in range(1, 6)))
    assert many.problems("fp32")[0].endswith(": c5 in bf16, c4 in bf16, c3 in bf16 and 2 more")


def test_as_a_line_and_as_json() -> None:
    found = ran(fp32=1, int8=9)
    assert found.sentence() == "Lib 1 on CPU runs 90.0% in int8, 10.0% in fp32"
    assert found.to_dict() == {
        "by": "Lib 1 on CPU", "multiply_adds": {"int8": 9, "fp32": 1},
        "multiply_adds_by_operator": {"Conv int8": 9, "Conv fp32": 1},
    }  # fmt: skip
