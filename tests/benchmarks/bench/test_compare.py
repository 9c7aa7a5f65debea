"""A planted slowdown is told; the same work again, a slower machine and another machine are not taken for one."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlcv.benchmarks.bench.compare import BETTER, FEWEST, SAME, WORSE, compare, comparison_table, noise_of, verdict_of
from dlcv.benchmarks.bench.measure import Effort, Way, interleaved, timed
from dlcv.benchmarks.bench.result import HOST, Case, Result, Timing
from dlcv.benchmarks.bench.statistics import Interval
from dlcv.benchmarks.pipeline.stand_ins import sleeping_session
from dlcv.runtime.errors import UsageError, VerdictError

ROUNDS = 30


def _times(median_ms: float, seed: int, spread: float = 0.03, count: int = ROUNDS) -> list[float]:
    return list(median_ms * np.random.default_rng(seed).lognormal(0, spread, count))


def _lanes(ours_ms: float, seed: int, bare_ms: float = 9.0) -> dict[str, list[float]]:
    return {
        "dlcv": _times(ours_ms, seed), "dlcv again": _times(ours_ms, seed + 1), "bare ONNX Runtime": _times(bare_ms, seed + 2),
    }  # fmt: skip


def _measured(made: Any, ways: dict[str, Way]) -> Result:
    """A real measurement."""
    case: Case = made.case_of({})
    timing = Timing(interleaved(ways, Effort(rounds=ROUNDS, pairs=ROUNDS, warm_up_s=0.1, pause_s=0)).lanes)
    return Result(made.MACHINE, {}, (replace(case, timings={HOST: timing}),))


def _sleeping(made: Any, sleep_ms: float) -> Result:
    """Of a session that sleeps, beside one that sleeps 8 ms, by the clock."""
    images = np.zeros((1, 64, 64, 3), np.uint8)
    sleeps = {"dlcv": sleep_ms, "dlcv again": sleep_ms, made.BARE: 8.0}
    sessions = {name: sleeping_session(64, ms) for name, ms in sleeps.items()}
    return _measured(made, {name: timed(lambda one=one: one.run(images)) for name, one in sessions.items()})  # type: ignore[misc]


def _computing(made: Any, work_ms: float) -> Result:
    """Of ways that compute, beside one that computes for 2 ms, by their own CPU time: that, other programs change little."""

    def way(seconds: float) -> float:
        start = time.thread_time()
        while (taken := time.thread_time() - start) < seconds:
            pass
        return taken

    works = {"dlcv": work_ms, "dlcv again": work_ms, made.BARE: 2.0}
    return _measured(made, {name: lambda ms=ms: way(ms / 1000) for name, ms in works.items()})  # type: ignore[misc]


def test_a_fifth_more_is_worse_and_the_same_again_is_not(made: Any) -> None:
    before, same, slower = (_computing(made, ms) for ms in (2.5, 2.5, 3.0))
    again = compare(before, same)
    assert {change.verdict for change in again.changes} == {SAME}
    again.require()
    found = compare(before, slower)
    assert {change.what: change.verdict for change in found.changes} == {"dlcv / bare ONNX Runtime": WORSE, "dlcv": WORSE}  # fmt: skip
    for change in found.changes:
        assert change.change is not None
        assert 1.1 < change.change.value < 1.3, "3 ms over 2.5 ms, and a check of the clock more or less"
    with pytest.raises(
        VerdictError, match=r"^2 of 2 measurements are worse, the most fcn8s.onnx, .*, host-to-host, dlcv"
    ):
        found.require()
    assert {change.verdict for change in compare(slower, before).changes} == {BETTER}


def test_a_session_that_sleeps_a_fifth_more_is_never_better(made: Any) -> None:
    """By the clock, which other programs change too, so that it may not be told; that it is told at rest: the test above."""
    before, slower = _sleeping(made, 10.0), _sleeping(made, 12.0)
    changes = [change for change in compare(before, slower).changes if change.what.startswith("dlcv /")]
    assert changes and {change.verdict for change in changes} <= {WORSE, SAME}
    assert {change.verdict for change in compare(slower, slower).changes} == {SAME}


def test_a_result_against_itself_is_not_distinguishable(made: Any) -> None:
    result = made.result_of(_lanes(10.0, 0))
    found = compare(result, result)
    assert [change.verdict for change in found.changes] == [SAME, SAME]
    assert all(change.change is not None and change.change.value == 1.0 for change in found.changes)


def test_false_alarms_are_rare(made: Any) -> None:
    """Forty pairs of runs of the same, with 10 % of noise: the tolerance and the intervals keep all quiet."""
    for seed in range(0, 400, 10):
        old, new = (made.result_of({"dlcv": _times(10, seed + k, 0.1), made.BARE: _times(9, seed + k + 5, 0.1)}) for k in (0, 1))  # fmt: skip
        assert {change.verdict for change in compare(old, new).changes} == {SAME}


def test_a_slower_machine_is_not_a_slower_engine(made: Any) -> None:
    old, new = made.result_of(_lanes(10.0, 0)), made.result_of(_lanes(13.0, 10, bare_ms=9.0 * 1.3))
    ratio, absolute = compare(old, new).changes
    assert (ratio.what, ratio.verdict) == ("dlcv / bare ONNX Runtime", SAME)
    assert (absolute.what, absolute.verdict) == ("dlcv", SAME)
    assert absolute.why.startswith("bare ONNX Runtime changed by 1.") and absolute.why.endswith(" as well: the machine")


def test_an_engine_that_is_slower_on_a_slower_machine_is_told(made: Any) -> None:
    """Three times as long, where the bare library takes a tenth more."""
    old, new = made.result_of(_lanes(10.0, 0)), made.result_of(_lanes(30.0, 10, bare_ms=9.0 * 1.2))
    assert [(change.what, change.verdict) for change in compare(old, new).changes] == [
        ("dlcv / bare ONNX Runtime", WORSE), ("dlcv", WORSE),
    ]  # fmt: skip


def test_an_engine_that_runs_no_more_is_no_pass(made: Any) -> None:
    """It is asked for and left out; what is not asked for is a note."""
    stays, gone = made.case_of(_lanes(10.0, 0)), made.case_of(_lanes(10.0, 0), name="int8.onnx")
    old = Result(made.MACHINE, {}, (stays, gone))
    asked = {"engines": ["fcn8s.onnx", "int8.onnx"], "devices": ["cpu"], "sessions": ["auto"], "batches": [1]}
    new = Result(made.MACHINE, asked, (stays,), {"int8.onnx with --device cpu": "it is damaged"})
    with pytest.raises(VerdictError) as caught:
        compare(old, new).require()
    assert str(caught.value) == (
        "what ran before is not run any more: int8.onnx, onnxruntime on cpu, in fp32, batch 1; "
        "left out: int8.onnx with --device cpu (it is damaged)"
    )
    compare(old, replace(new, left_out={})).require()
    for fewer in ({"engines": ["fcn8s.onnx"]}, {"batches": [2]}, {"sessions": ["openvino"]}, {"devices": ["cuda"]}):
        found = compare(old, replace(new, settings=asked | fewer))
        found.require()
        assert found.notes == ("int8.onnx, onnxruntime on cpu, in fp32, batch 1: measured before only",)


def test_what_was_not_asked_for_is_not_lost_for_another_batch_left_out(made: Any) -> None:
    """`--session auto` opens one session, and a batch that was cut is not the batch that was measured."""
    both = made.case_of(_lanes(10.0, 0)), replace(made.case_of(_lanes(10.0, 0)), session="openvino")
    asked = {"engines": ["fcn8s.onnx"], "devices": ["auto"], "sessions": ["auto"], "batches": [1, 512]}
    cut = {"fcn8s.onnx with --device auto --session auto, batch 512": "it would not end"}
    old, new = Result(made.MACHINE, {}, both), Result(made.MACHINE, asked, both[1:], cut)
    found = compare(old, new)
    found.require()
    assert found.notes == ("fcn8s.onnx, onnxruntime on cpu, in fp32, batch 1: measured before only",)
    for gone in ("--session auto", "--session onnxruntime", "--session auto, batch 1"):
        lost = compare(old, replace(new, left_out={f"fcn8s.onnx with --device auto {gone}": "it is damaged"})).lost
        assert lost[0] == "fcn8s.onnx, onnxruntime on cpu, in fp32, batch 1", gone


def test_a_kind_of_time_that_fails_now_is_lost(made: Any) -> None:
    """Not one that nobody asked for this time."""
    case = made.case_of(_lanes(10.0, 0))
    old, fewer = Result(made.MACHINE, {}, (case,)), replace(case, timings={})
    assert compare(old, Result(made.MACHINE, {}, (fewer,))).lost == ()
    found = compare(old, Result(made.MACHINE, {}, (fewer.without("host", "it is damaged"),)))
    assert found.lost == ("fcn8s.onnx, onnxruntime on cpu, in fp32, batch 1", "left out: host-to-host (it is damaged)")


def test_an_engine_keeps_its_name_whatever_ran_beside_it(made: Any) -> None:
    """Two of one file name are told apart by folders, in the run that has both."""

    def engine(name: str, sha256: str, ms: float = 10.0) -> Any:
        case = made.case_of(_lanes(ms, 0))
        return replace(case, engine=replace(case.engine, name=name, sha256=sha256))

    both = engine("a/fcn8s.onnx", "1"), engine("probs/fcn8s.onnx", "2", 20.0)
    for sha256, ms in (("1", 10.0), ("2", 20.0)):
        found = compare(Result(made.MACHINE, {}, both), Result(made.MACHINE, {}, (engine("fcn8s.onnx", sha256, ms),)))
        assert {change.verdict for change in found.changes} == {SAME}
        assert len(found.notes) == 1, "the other was measured before only"
    unknown = compare(Result(made.MACHINE, {}, both), Result(made.MACHINE, {}, (engine("fcn8s.onnx", "3"),)))
    assert unknown.changes == (), "which of the two it is nobody knows"
    alone = compare(Result(made.MACHINE, {}, both[:1]), Result(made.MACHINE, {}, (engine("fcn8s.onnx", "3"),)))
    assert (
        alone.changes
        and "fcn8s.onnx, onnxruntime on cpu, in fp32: the engine's file is another one than before" in alone.notes
    )


def test_a_library_that_became_slower_is_told(made: Any) -> None:
    environment = made.MACHINE | {"versions": {"onnxruntime": "1.1"}}
    old, new = (
        made.result_of(_lanes(10.0, 0)),
        made.result_of(_lanes(13.0, 10, bare_ms=9.0 * 1.3), environment=environment),
    )
    found = compare(old, new)
    assert [change.verdict for change in found.changes] == [SAME, WORSE]
    assert "onnxruntime 1.0 before, 1.1 now" in found.notes


def test_another_machine_compares_ratios_only_and_says_so(made: Any) -> None:
    old = made.result_of(_lanes(10.0, 0))
    new = made.result_of(_lanes(50.0, 10, bare_ms=45.0), environment=made.MACHINE | {"cpu": "Another CPU"})
    found = compare(old, new)
    assert [(change.what, change.verdict) for change in found.changes] == [("dlcv / bare ONNX Runtime", SAME)]
    assert found.notes == (
        "another machine (cpu 'A CPU' and 'Another CPU'): absolute times are not compared, ratios alone are",
    )
    slower = made.result_of(_lanes(60.0, 10, bare_ms=45.0), environment=made.MACHINE | {"cpu": "Another CPU"})
    assert [change.verdict for change in compare(old, slower).changes] == [WORSE]


def test_a_baseline_that_becomes_quicker_is_no_slowdown(made: Any) -> None:
    def result(ours_ms: float, torch_ms: float, seed: int, **environment: Any) -> Result:
        lanes = _lanes(ours_ms, seed) | {"torch eager": _times(torch_ms, seed + 3)}
        found: Result = made.result_of(lanes, environment=made.MACHINE | environment)
        return found

    old = result(10.0, 30.0, 0)
    quicker = {one.what: one for one in compare(old, result(10.0, 15.0, 10)).changes}
    assert {one.verdict for one in quicker.values()} == {SAME}
    assert quicker["dlcv / torch eager"].why == "dlcv's own time did not change so: the other did"
    elsewhere = compare(old, result(10.0, 15.0, 10, cpu="Another CPU"))
    assert {one.verdict for one in elsewhere.changes} == {SAME}
    both = {one.what: one.verdict for one in compare(old, result(13.0, 30.0, 10)).changes}
    assert both == {"dlcv / bare ONNX Runtime": WORSE, "dlcv / torch eager": WORSE, "dlcv": WORSE}


def test_the_level_of_processes_moves_between_runs(made: Any) -> None:
    """Starts have no lane of the same again: the bare library's starts decide, and alone only twice the time is told."""

    def result(ours_ms: float, seed: int, bare_ms: float | None) -> Result:
        lanes = {"dlcv": _times(ours_ms, seed, 0.1)} | (
            {} if bare_ms is None else {made.BARE: _times(bare_ms, seed + 2, 0.4)}
        )
        found: Result = made.result_of(lanes)
        return found

    busy = compare(result(200.0, 0, 180.0), result(300.0, 10, 225.0))
    assert {one.what: one.verdict for one in busy.changes} == {"dlcv / bare ONNX Runtime": SAME, "dlcv": SAME}
    assert busy.changes[-1].why == "beside bare ONNX Runtime it did not change: the machine"
    slower = compare(result(200.0, 0, 180.0), result(600.0, 10, 180.0))
    assert {one.what: one.verdict for one in slower.changes} == {"dlcv / bare ONNX Runtime": WORSE, "dlcv": WORSE}
    assert [one.verdict for one in compare(result(200.0, 0, None), result(300.0, 10, None)).changes] == [SAME]
    assert [one.verdict for one in compare(result(200.0, 0, None), result(600.0, 10, None)).changes] == [WORSE]


def test_noise_widens_the_margin(made: Any) -> None:
    """A run whose same work twice differs by 15 % cannot tell 10 %."""
    lanes = _lanes(10.0, 0)
    noisy = lanes | {"dlcv": _times(11.0, 3), "dlcv again": _times(9.6, 5)}
    assert noise_of(made.case_of(noisy).timings[HOST]) > 0.1
    found = compare(made.result_of(lanes), made.result_of(noisy))
    assert all(change.margin > 0.1 and change.verdict == SAME for change in found.changes)


def test_a_difference_below_the_tolerance_does_not_matter(made: Any) -> None:
    old, new = made.result_of(_lanes(10.0, 0)), made.result_of(_lanes(10.8, 10))
    assert {change.verdict for change in compare(old, new, tolerance=0.15).changes} == {SAME}
    assert verdict_of(Interval(1.08, 1.06, 1.1), 0.05) == WORSE
    assert verdict_of(Interval(1.08, 1.04, 1.1), 0.05) == SAME
    assert verdict_of(Interval(0.9, 0.88, 0.94), 0.05) == BETTER


def test_one_engine_against_another(made: Any) -> None:
    """Another name, another precision, another file: with `any_engine` they are compared, and no machine is blamed for what both ways
    show."""
    (old,) = made.result_of(_lanes(10.0, 1)).cases
    other = replace(old.engine, name="int8.onnx", sha256="cd" * 32)
    (fast,) = made.result_of(_lanes(5.0, 5, bare_ms=4.5)).cases
    results = [Result(made.MACHINE, {}, (case,)) for case in (old, replace(fast, engine=other, computes="int8"))]
    assert compare(*results).changes == ()
    absolute = next(one for one in compare(*results, any_engine=True).changes if one.what == "dlcv")
    assert absolute.verdict == BETTER and absolute.change is not None and 0.45 < absolute.change.value < 0.55
    assert next(one for one in compare(*results[::-1], any_engine=True).changes if one.what == "dlcv").verdict == WORSE
    several = Result(made.MACHINE, {}, tuple(case for result in results for case in result.cases))
    with pytest.raises(
        UsageError,
        match=r"^--any-engine compares one engine with another; a result has 2: fcn8s\.onnx in fp32, int8\.onnx in int8$",
    ):
        compare(results[0], several, any_engine=True)


def test_a_slower_file_of_the_same_name_is_no_slower_machine(made: Any) -> None:
    """Exported again, and slower in the bare library too."""
    (old,), (new,) = (made.result_of(_lanes(ours, 1, bare)).cases for ours, bare in ((10.0, 9.0), (13.0, 11.7)))
    again = replace(new, engine=replace(new.engine, sha256="cd" * 32))
    verdicts = [
        {
            one.what: one.verdict
            for one in compare(*(Result(made.MACHINE, {}, (case,)) for case in (old, case_))).changes
        }["dlcv"]
        for case_ in (new, again)
    ]
    assert verdicts == [SAME, WORSE]


def test_few_samples_are_no_verdict(made: Any) -> None:
    old, new = (made.result_of({"dlcv": [ms] * (FEWEST - 1)}) for ms in (1.0, 9.0))
    (change,) = compare(old, new).changes
    assert (change.verdict, change.change) == (SAME, None)
    assert change.why == f"{FEWEST - 1} samples; {FEWEST} are needed"


def test_nothing_in_common_is_a_failure(made: Any) -> None:
    found = compare(made.result_of(_lanes(1, 0)), made.result_of(_lanes(1, 0), name="other.onnx"))
    assert len(found.notes) == 2 and all(note.endswith("only") for note in found.notes)
    with pytest.raises(VerdictError, match="no measurement in common: nothing was compared"):
        found.require()


def test_the_table_has_the_worst_first(made: Any) -> None:
    old = Result(made.MACHINE, {}, (made.case_of(_lanes(10.0, 0)), made.case_of(_lanes(10.0, 0), batch=4)))
    new = Result(made.MACHINE, {}, (made.case_of(_lanes(10.0, 5)), made.case_of(_lanes(20.0, 5), batch=4)))
    table = comparison_table(compare(old, new))
    assert [row[-1] for row in table.rows] == ["worse", "worse", "not distinguishable", "not distinguishable"]
    assert table.rows[0][0].endswith("batch 4")
    assert table.below[0].startswith("2 worse, 0 better, 2 not distinguishable.")


def test_memory_is_compared(made: Any, tmp_path: Path) -> None:
    case = made.case_of(_lanes(10.0, 0))
    old, new = (
        Result(made.MACHINE, {}, (replace(case, host_peak_mb={"dlcv": (peak,) * 8}),)) for peak in (100.0, 150.0)
    )
    change = compare(old, new).changes[-1]
    assert (change.kind, change.verdict) == ("peak host memory", WORSE)
