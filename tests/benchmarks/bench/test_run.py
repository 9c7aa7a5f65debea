"""A whole run on a tiny engine: every kind of time, the baselines in the same rounds, and reasons for what is missing."""

from __future__ import annotations

import shutil
import statistics
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from dlcv.benchmarks.bench import fresh, in_flight, roofline
from dlcv.benchmarks.bench.baselines import Work, open_baselines
from dlcv.benchmarks.bench.cases import groups_of, names_of
from dlcv.benchmarks.bench.cold import bare_program
from dlcv.benchmarks.bench.fresh import OURS, run_fresh
from dlcv.benchmarks.bench.measure import Effort
from dlcv.benchmarks.bench.request import MEASURES, Request
from dlcv.benchmarks.bench.result import COLD, DEVICE, FILES, FIRST, HOST, Result, from_json, to_json
from dlcv.benchmarks.bench.run import run_bench
from dlcv.benchmarks.untrained import untrained_card
from dlcv.runtime.errors import EngineError
from dlcv.runtime.provenance import Trust
from dlcv.runtime.sessions import open_session

pytest.importorskip("torch", reason="the baselines and the generated tiles need the train extra")
QUICK = Effort(rounds=8, pairs=8, warm_up_s=0.05, pause_s=0)
QUICK_FLIGHT = Effort(rounds=2, pairs=2, warm_up_s=0.05, pause_s=0, seconds=0.1)
SMALL = roofline.Product(32, 16, 2)


@pytest.fixture(scope="module")
def result(tiny_onnx: Path) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roofline, "PRODUCTS", {"cpu": SMALL, "cuda": SMALL})
        request = Request(
            (tiny_onnx,), devices=("cpu",), sessions=("onnxruntime", "tensorrt"), batches=(1, 2), tiles=2, processes=1, effort=QUICK, in_flight=(1, 2),
            baselines=("bare", "torch", "serial"),
        )  # fmt: skip
        return run_bench(request, ["dlcv-bench"])


def test_every_kind_of_time_of_every_way(result: Result) -> None:
    assert [case.batch for case in result.cases] == [1, 2]
    for case in result.cases:
        lanes = {kind: set(timing.lanes) for kind, timing in case.timings.items()}
        bare = "bare ONNX Runtime"
        assert lanes == {
            HOST: {"dlcv", "dlcv again", bare, "torch eager"}, FILES: {"dlcv", "dlcv again", f"serial loop, {bare}"},
            COLD: {"dlcv", bare}, FIRST: {"dlcv", bare},
        }  # fmt: skip
        counts = {len(lane.samples_ms) for kind in (HOST, FILES) for lane in case.timings[kind].lanes.values()}
        assert counts == {8}
        assert all(
            value > 0 for timing in case.timings.values() for lane in timing.lanes.values() for value in lane.samples_ms
        )
        assert case.label == "mask.onnx, onnxruntime on cpu, in fp32"


def test_the_times_fit_each_other(result: Result) -> None:
    """What holds whatever the machine: a process takes longer than its first call, and starts Python for at least 20 ms."""
    for case in result.cases:
        cold, first = (case.timings[kind].lanes["dlcv"].samples_ms[0] for kind in (COLD, FIRST))
        assert first < cold > 20
        assert case.stages_ms.keys() == {"decode", "session", "write"}
        assert 20 < statistics.median(case.host_peak_mb["dlcv"]) < 2000


def test_what_a_cpu_lacks_is_told(result: Result) -> None:
    missing = result.cases[0].missing
    assert missing[DEVICE].startswith("there are no CUDA events on a CPU")
    assert missing["power and clocks"] == missing["device memory"] == "of a GPU only"
    (label,) = result.left_out
    assert label == "mask.onnx with --device cpu --session tensorrt"
    assert result.left_out[label]


def test_the_share_of_the_roofline(result: Result, tiny_onnx: Path) -> None:
    from dlcv.benchmarks.operations import count_operations

    case = result.cases[1]
    assert case.engine.multiply_adds == count_operations("fcn8s", (64, 64), width=0.05).multiply_adds
    assert case.roofline is not None
    assert case.roofline.time == HOST and case.roofline.pairs == 8
    assert 0 < case.roofline.share_low <= case.roofline.share <= case.roofline.share_high


def test_the_share_by_hand() -> None:
    """A product of 10 operations in 2 s and an engine of 30 in 12 s: 5 and 2.5 a second."""
    much = Effort(rounds=400, pairs=100, warm_up_s=0, pause_s=0)
    assert roofline.share_of(lambda: 12.0, 30, lambda: 2.0, 10, HOST, much).pairs == roofline.MOST.rounds
    found = roofline.share_of(lambda: 12.0, 30, lambda: 2.0, 10, HOST, QUICK)
    assert (found.engine_flops, found.matrix_flops, found.share, found.share_low) == (2.5, 5.0, 0.5, 0.5)
    assert found.pairs == QUICK.rounds, "as many as the run takes"


def test_throughput_by_batches_in_flight(result: Result) -> None:
    for case in result.cases:
        assert [level.count for level in case.in_flight] == [1, 2]
        for level in case.in_flight:
            assert len(level.images_per_s) == in_flight.ROUNDS and min(level.images_per_s) > 0
            assert len(level.samples_ms) >= level.count * in_flight.ROUNDS, "a call of each thread in each round"
    assert from_json(to_json(result), "x").cases[0].in_flight[1].count == 2


def test_callers_in_flight_by_hand() -> None:
    """A device that takes 20 ms whatever comes, of any number at once: three callers get three times as much of it."""
    with ThreadPoolExecutor(3) as pool:
        levels = {count: in_flight._level(lambda: time.sleep(0.02), pool, count) for count in (1, 3)}
        found = in_flight.measured(levels, 0.05)
    alone, three = (statistics.median(rate for rate, _ in found[count]) for count in (1, 3))
    assert 5 < alone <= 50 and 1.5 < three / alone < 6, "on a busy machine a sleep ends late"
    assert all(seconds >= 0.02 for _, all_ in found[3] for seconds in all_)


def test_more_in_flight_than_a_session_takes_is_told(tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = in_flight.open_session

    def narrow(*given: Any, **how: Any) -> Any:
        session = real(*given, **how)
        session.parallel = 1
        return session

    monkeypatch.setattr(in_flight, "open_session", narrow)
    request = Request(
        (tiny_onnx,), devices=("cpu",), sessions=("onnxruntime",), measures=("flight",), baselines=(), in_flight=(1, 2), effort=QUICK_FLIGHT
    )  # fmt: skip
    (case,) = run_bench(request).cases
    assert [level.count for level in case.in_flight] == [1]
    assert case.missing["2 in flight"] == "the session takes 1 at a time"


def test_a_measure_that_fails_is_told_beside_the_others(tiny_onnx: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.jpg").write_bytes(b"no image")
    request = Request(
        (tiny_onnx,), devices=("cpu",), sessions=("onnxruntime",), measures=("host", "files"), baselines=(), effort=QUICK, data=tmp_path / "data"
    )  # fmt: skip
    kept: list[Result] = []
    (case,) = run_bench(request, keep=kept.append).cases
    assert set(case.timings) == {HOST} and "1 of 1 tiles failed: a.jpg" in case.missing["files"]
    assert [one.cases for one in kept] == [(case,)], "kept as soon as it was measured"
    with pytest.raises(EngineError, match="1 of 1 tiles failed"):
        run_bench(replace(request, measures=("files",)))


def test_tiles_of_one_name_are_run(tiny_onnx: Path, tmp_path: Path) -> None:
    """A folder per class numbers its images anew."""
    import cv2

    for folder, grey in (("a", 10), ("b", 200)):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "0.png"), np.full((64, 64, 3), grey, np.uint8))
    request = Request(
        (tiny_onnx,), devices=("cpu",), sessions=("onnxruntime",), batches=(1, 2), measures=("files",), baselines=("bare", "serial"), effort=QUICK,
        data=tmp_path,
    )  # fmt: skip
    for case in run_bench(request).cases:
        assert set(case.timings[FILES].lanes) == {"dlcv", "dlcv again", "serial loop, bare ONNX Runtime"}


def test_the_environment_and_the_round_trip(result: Result) -> None:
    assert {"cpu", "cores", "versions", "commit", "command", "load_before", "load_after"} <= set(result.environment)
    assert result.environment["command"] == "dlcv-bench"
    again = from_json(to_json(result), "x")
    assert again.cases[0].key == result.cases[0].key
    assert again.cases[0].timings[HOST].lanes["dlcv"].warm_up == result.cases[0].timings[HOST].lanes["dlcv"].warm_up


def test_a_slower_session_shows_in_the_ratio(tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our session with 20 ms more: bare ONNX Runtime beside it tells that it is ours that is slow."""
    from dlcv.runtime.sessions.onnxrt import OnnxSession

    plain = OnnxSession._run

    def slow(self: Any, images: Any) -> Any:
        time.sleep(0.02)
        return plain(self, images)

    request = Request(
        (tiny_onnx,), devices=("cpu",), sessions=("onnxruntime",), measures=("host",), baselines=("bare",), effort=QUICK
    )
    fast = run_bench(request).cases[0].timings[HOST].ratio("dlcv", "bare ONNX Runtime")
    monkeypatch.setattr(OnnxSession, "_run", slow)
    slowed = run_bench(request).cases[0].timings[HOST].ratio("dlcv", "bare ONNX Runtime")
    assert fast is not None and slowed is not None
    assert slowed.median > 1.5 * fast.median, "about 10 times on a quiet machine"


def test_no_case_at_all_is_the_first_error(tiny_onnx: Path) -> None:
    with pytest.raises(EngineError, match="build one with: dlcv-export"):
        run_bench(Request((tiny_onnx,), devices=("cuda",), sessions=("tensorrt",), measures=("host",), effort=QUICK))


def test_a_classifier_file_to_file(colour_engine: Path, tmp_path: Path, write_tile: Any) -> None:
    for number in range(3):
        write_tile(tmp_path / "tiles" / f"{number}.png", np.full((40, 40, 3), 40 * (number + 1), np.uint8))
    request = Request(
        (colour_engine,), devices=("cpu",), sessions=("onnxruntime",), measures=("files",), effort=QUICK, data=tmp_path / "tiles",
    )  # fmt: skip
    (case,) = run_bench(request).cases
    assert set(case.timings[FILES].lanes) == {"dlcv", "dlcv again", "serial loop, bare ONNX Runtime"}
    assert case.timings[FILES].missing == {}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_product_runs_in_each_precision(tmp_path: Path, precision: str) -> None:
    path = roofline.product_graph(tmp_path / "product.onnx", precision, SMALL)
    with open_session(path, device="cpu", session="onnxruntime") as session:
        assert session.card.precision == precision
        logits = session.run(roofline.product_images(SMALL))["logits"]
    assert np.isfinite(logits).all() and logits.std() > 0


def test_the_product_has_the_multiply_adds_that_it_says(tmp_path: Path) -> None:
    import onnx

    from dlcv.export.precision.layers import layers_of

    path = roofline.product_graph(tmp_path / "product.onnx", "fp32", SMALL)
    assert sum(layer.multiply_adds for layer in layers_of(onnx.load(path))) == SMALL.multiply_adds


def test_a_process_that_fails_says_why(tmp_path: Path) -> None:
    order = {
        "path": tmp_path / "none.onnx",
        "device": "cpu",
        "session": "auto",
        "compute": "card",
        "batch": 1,
        "size_hw": (8, 8),
    }
    with pytest.raises(EngineError, match=r"a process of its own ended with 1: .*none.onnx does not exist"):
        run_fresh(OURS, order | vars(Trust()))


def test_a_bare_process_that_fails_is_a_reason(tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh, "ONNXRUNTIME", "raise SystemExit('it is out of memory')")
    request = Request((tiny_onnx,), devices=("cpu",), sessions=("onnxruntime",), measures=("cold",), baselines=(), processes=1)  # fmt: skip
    (case,) = run_bench(request).cases
    for kind in (COLD, FIRST):
        assert set(case.timings[kind].lanes) == {"dlcv"}
        assert case.timings[kind].missing == {
            "bare ONNX Runtime": "a process of its own ended with 1: it is out of memory"
        }


def test_a_process_that_never_ends_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh, "TIMEOUT_S", 0.5)
    with pytest.raises(EngineError, match="a process of its own was stopped after 0 s"):
        run_fresh("import time; time.sleep(60)", {})


def test_the_bare_process_runs_on_the_device_that_ours_runs_on(tiny_onnx: Path) -> None:
    """In its precision, and not on a CPU where there is no GPU."""
    for computes, allowed in (("fp32", "0"), ("tf32", "1")):
        work = Work(tiny_onnx, None, None, "onnxruntime", "cuda", "card", computes)  # type: ignore[arg-type]
        ((code, order),) = bare_program(work, {"path": tiny_onnx, "batch": 1, "size_hw": (64, 64)}).values()
        assert order["providers"] == [("CUDAExecutionProvider", {"use_tf32": allowed})]
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        with pytest.raises(EngineError, match="ONNX Runtime does not run it with CUDAExecutionProvider"):
            run_fresh(code, order)


def test_the_bare_process_reports_nothing_either(
    tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the library's maker would be told, and the comparison would have work in it that ours does not do."""
    pytest.importorskip("openvino")
    work = Work(tiny_onnx, None, None, "openvino", "cpu", "card", "fp32")  # type: ignore[arg-type]
    ((code, order),) = bare_program(work, {"path": tiny_onnx, "batch": 1, "size_hw": (64, 64)}).values()
    monkeypatch.setenv("HOME", str(tmp_path))
    run_fresh(code, order)
    assert list(tmp_path.iterdir()) == []


def test_names_tell_engines_apart(tmp_path: Path) -> None:
    one, two = tmp_path / "a" / "fcn8s.onnx", tmp_path / "b" / "fcn8s.onnx"
    assert list(names_of([one]).values()) == ["fcn8s.onnx"]
    assert list(names_of([one, two, one]).values()) == ["a/fcn8s.onnx", "b/fcn8s.onnx"]
    groups = groups_of([one, two], ["cpu", "cuda"], ["auto"], ["card", "bf16"])
    assert len(groups) == 8
    assert groups[1].label == "a/fcn8s.onnx with --device cpu --session auto --compute bf16"


def test_measures_and_baselines_of_the_command_are_those_of_the_library() -> None:
    from dlcv.benchmarks.bench.baselines import BASELINES
    from dlcv.benchmarks.cli import bench

    assert tuple(BASELINES) == bench.BASELINES and MEASURES == bench.MEASURES


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_torch_compile_really_runs(tmp_path: Path) -> None:
    """The compiled network gives what the eager one gives."""
    card = untrained_card("cnn3", "classification", 16, width=0.05)
    work = Work(tmp_path / "none.onnx", None, card, "onnxruntime", "cpu", "card", "fp32")
    images = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), np.uint8)
    with ExitStack() as stack, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about its own code
        opened = open_baselines(("torch", "compile"), work, stack)
        assert opened.missing == {}
        runs = opened.runs()
        eager, compiled = (runs[name](images) for name in ("torch eager", "torch.compile"))
    np.testing.assert_allclose(compiled, eager, rtol=1e-3, atol=1e-4, err_msg="sums in another order")
