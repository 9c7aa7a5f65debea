"""The suite's budget, its reasons and its report, with parts that are small shell commands."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dlcv.benchmarks.bench.environment import commit
from dlcv.benchmarks.gpu_suite import lacks as lacks_module
from dlcv.benchmarks.gpu_suite import report, run
from dlcv.benchmarks.gpu_suite.__main__ import main
from dlcv.benchmarks.gpu_suite.lacks import lacks
from dlcv.benchmarks.gpu_suite.parts import PARTS, TENSORRT_PYTHON, Part
from dlcv.benchmarks.gpu_suite.run import CUT, FAILED, RAN, SKIPPED, ended_early, endings, run_suite

DRIVER = "no NVIDIA driver (libcuda.so.1)"


def _part(name: str, command: str, **how: Any) -> Part:
    return Part(name, "nothing", command, how.pop("minutes", 0.01), driver=how.pop("driver", False), **how)


def test_a_part_is_run_skipped_cut_or_failed_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lacks_module, "driver_problem", lambda: DRIVER)
    parts = [
        _part("good", "echo first; echo last"),
        _part("bad", "echo what is wrong; exit 3"),
        _part("on-a-gpu", "echo never", driver=True),
        _part("with-more", "echo never", packages=("no_such_package", "numpy")),
        _part("long", "echo never", minutes=9),
    ]
    good, bad, on_gpu, more, long = run_suite(parts, 60, lambda line: None)
    assert (good.state, good.code, good.last_line) == (RAN, 0, "last")
    assert (bad.state, bad.code, bad.reason) == (FAILED, 3, "what is wrong")
    assert (on_gpu.state, on_gpu.reason) == (SKIPPED, f"this machine has {DRIVER}")
    assert (more.state, more.reason) == (SKIPPED, "no_such_package is not installed")
    assert long.state == CUT
    assert long.reason.startswith("it takes about 9 minutes, and 1.0 were left")


def test_results_are_kept_after_each_part() -> None:
    kept: list[list[str]] = []
    parts = [_part("one", "true"), _part("two", "false")]
    run_suite(parts, 60, lambda line: None, lambda found: kept.append([one.state for one in found]))
    assert kept == [[RAN], [RAN, FAILED]]


def test_a_part_is_stopped_with_its_children_when_the_budget_is_over() -> None:
    start = time.perf_counter()
    (outcome,) = run_suite([_part("slow", "echo begun; sleep 60 & wait")], 1.0, lambda line: None)
    assert time.perf_counter() - start < 20  # seconds; a minute without the stop
    assert (outcome.state, outcome.reason, outcome.code, outcome.last_line) == (
        FAILED,
        "stopped after 1 s",
        None,
        "begun",
    )


def test_any_of_several_packages_will_do() -> None:
    assert lacks(_part("a", "", packages=("no_such_package|numpy",)), {}) == ""
    assert lacks(_part("a", "", packages=("no_such|nor_this",)), {}) == "no_such or nor_this is not installed"


def test_packages_are_looked_for_in_tensorrts_own_python(tmp_path: Path) -> None:
    part = _part("plans", f"{TENSORRT_PYTHON} -m x", packages=("numpy",))
    assert lacks(part, {"DLCV_TENSORRT_PYTHON": "/no/such/python"}) == "numpy, dlcv is not installed in /no/such/python"
    assert lacks(part, {}) == ""
    (lent := tmp_path / "lent").mkdir()
    (lent / "only_lent.py").write_text("")
    needs = _part("files", f"{TENSORRT_PYTHON} -m x", packages=("only_lent",))
    extra = os.pathsep.join([str(run.ROOT / ".typing"), str(lent)])
    own = {"DLCV_TENSORRT_PYTHON": sys.executable, "DLCV_EXTRA_PYTHONPATH": extra}
    assert lacks(needs, own) == "", "what is lent is found there"
    assert lacks(needs, {}) == "only_lent is not installed"


@pytest.mark.skipif(os.name == "nt", reason="a wrapper of a Unix")
def test_a_wrapper_that_sets_a_path_of_its_own_finds_what_is_lent(tmp_path: Path) -> None:
    wrapper, lent = tmp_path / "wrapper", tmp_path / "lent"
    wrapper.write_text(f'#!/bin/sh\nexport PYTHONPATH=/its/own\nexec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    lent.mkdir()
    (lent / "only_lent.py").write_text("import os, sys; print(__name__, sys.argv[1:], os.environ['PYTHONPATH'])")
    part = _part("plans", f"{TENSORRT_PYTHON} -m only_lent fcn8s --budget 3", packages=("only_lent",))
    extra = os.pathsep.join([str(run.ROOT / ".typing"), str(lent)])
    environment = run.environment_of_parts() | {"DLCV_TENSORRT_PYTHON": str(wrapper), "DLCV_EXTRA_PYTHONPATH": extra}
    assert lacks(part, environment) == ""
    outcome = run.run_one(part, environment, 60)
    assert outcome.lines == (f"__main__ ['fcn8s', '--budget', '3'] /its/own{os.pathsep}{extra}",), outcome


def test_the_data_of_a_training_part_is_missed_where_it_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dlcv.benchmarks.gpu_suite.lacks.driver_problem", lambda: None)
    part = next(part for part in PARTS if part.name == "train-fcn8s")
    assert lacks(part, {}) == "there is no folder dubai512/ here, which it trains on"
    (tmp_path / "dubai512").mkdir()
    assert lacks(part, {}) == ""


@pytest.mark.parametrize(
    ("lines", "code", "command", "early"),
    [
        ((f"copies: this machine has {DRIVER}",), 2, "python -m a", False),
        ((f"copies: this machine has {DRIVER}",), 0, "python -m a", True),
        (("copies: pycuda is needed",), 2, "python -m a", True),
        (("dlcv-train: torch sees no GPU for the device cuda; use --device cpu",), 2, "python -m a", False),
        ((f"SKIPPED [9] a.py:1: {DRIVER}", "9 skipped"), 0, "python -m pytest a", False),
        ((f"SKIPPED [9] a.py:1: {DRIVER}", "SKIPPED [1] a.py:2: no onnx", "10 skipped"), 0, "python -m pytest a", True),
        (("9 passed",), 0, "python -m pytest a", True),
        ((f"SKIPPED [9] a.py:1: {DRIVER}", "1 failed"), 1, "python -m pytest a", True),
    ],
)
def test_a_dry_run_tells_what_ends_elsewhere_than_at_the_driver(
    lines: tuple[str, ...], code: int, command: str, early: bool
) -> None:
    outcome = run.Outcome(_part("a", command, driver=True), FAILED if code else RAN, "", 1.0, code, lines)
    assert ended_early([outcome]) == (["a"] if early else [])
    if "SKIPPED" in lines[0]:
        assert DRIVER in endings(outcome)


def test_a_part_that_was_not_started_ended_early() -> None:
    assert ended_early([run.Outcome(_part("a", "x", driver=True), SKIPPED, "pycuda is not installed")]) == ["a"]


def test_the_report_has_every_part_the_figures_and_the_goals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "FOLDER", tmp_path)
    case = {
        "engine": "fcn8s-fp16.onnx", "session": "onnxruntime", "computes": "fp16", "batch": 16,
        "images_per_s": {"device": 2000.0, "host-to-host": 1500.0}, "beside": {"torch eager": 1200.0}, "of_matrix_rate": 0.43,
    }  # fmt: skip
    files = {
        "engine": "fcn8s-fp16.plan", "batch": 16, "tiles": 6000, "file_to_file": 1800.0, "device": 2100.0, "session": 1900.0, "codec": 4000.0,
        "cores": 16, "of_slower": 0.857, "of_session": 0.947,
    }  # fmt: skip
    (tmp_path / "bench-fcn8s.json").write_text(json.dumps({"cases": [case], "files": [files]}))
    ran = run.Outcome(_part("bench-fcn8s", "echo"), RAN, "", 2.0, 0, ("wrote it",))
    cut = run.Outcome(_part("later", "echo"), CUT, "it takes 2 minutes, and 1 was left")
    json_path, md_path = report.write_report([ran, cut], {"gpu": "NVIDIA H200", "driver": "580"}, tmp_path, 480)
    assert json_path.name.startswith("nvidia-h200-20")
    text = md_path.read_text()
    assert "it takes 2 minutes, and 1 was left" in text
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines()]
    assert [
        "",
        "fcn8s-fp16.onnx, onnxruntime",
        "fp16",
        "16",
        "2000",
        "1500",
        "-",
        "torch eager 1200",
        "43 %",
        "",
    ] in rows
    assert "missed with 2000 by fcn8s-fp16.onnx at batch 16" in text
    assert ["", "fcn8s-fp16.plan", "16", "6000", "1800", "2100", "1900", "4000", "16", "0.857", "0.947", ""] in rows
    assert "at least 0.95 of the slower of device and codec; missed with 0.857 by fcn8s-fp16.plan at batch 16." in text
    values = json.loads(json_path.read_text())
    assert [part["state"] for part in values["parts"]] == [RAN, CUT]
    assert values["parts"][0]["facts"]["cases"] == [case]
    better = report._goals([case, case | {"engine": "fcn8s-fp16.plan", "images_per_s": {"device": 2300.0}}])
    assert better[0].endswith("reached with 2300 by fcn8s-fp16.plan at batch 16."), "a plan counts as well as a graph"


def test_parts_alone_do_not_replace_the_results_of_all(tmp_path: Path) -> None:
    ran = [run.Outcome(_part("copies", "echo"), RAN, "", 2.0, 0, ("wrote it",))]
    environment = {"gpu": "NVIDIA H200"}
    whole, some = (
        report.write_report(ran, environment, tmp_path, 480, only) for only in ((), ("copies", "plans-fcn8s"))
    )
    assert [path.name for path in some] == [whole[0].stem + "-copies-plans-fcn8s" + path.suffix for path in whole]
    assert all(path.exists() for path in whole)


def test_a_part_that_was_stopped_tells_what_it_kept_and_not_what_an_earlier_one_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "FOLDER", tmp_path)
    for name in ("kept", "nothing"):
        (tmp_path / f"{name}.json").write_text('{"run": "earlier"}')
    parts = [_part("kept", f'echo \'{{"run": "this"}}\' > {tmp_path}/kept.json; exit 1'), _part("nothing", "exit 1")]
    kept, nothing = run_suite(parts, 60, lambda line: None)
    assert (report._facts(kept), report._facts(nothing)) == ({"run": "this"}, None)


def test_outside_of_a_checkout_the_commit_is_what_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DLCV_COMMIT", raising=False)
    assert commit(tmp_path) == ""
    monkeypatch.setenv("DLCV_COMMIT", "0a70f8c")
    assert commit(tmp_path) == "0a70f8c"
    assert commit(Path(__file__).parent) != "0a70f8c" or not (Path(__file__).parents[3] / ".git").exists()


@pytest.mark.parametrize(
    ("cut", "code", "last"),
    [
        ((), 0, "wrote "),
        (("matrix",), 0, "cut: 1 of 5 parts: matrix"),
        (("plans-fcn32s",), 0, "cut: 1 of 5 parts: plans-fcn32s"),
        (
            ("contract-plan", "matrix"), 1,
            "gpu-suite: cut: 2 of 5 parts, among them contract-plan; give it more time with --minutes",
        ),
    ],
)  # fmt: skip
def test_a_run_that_had_no_time_for_what_it_is_for_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cut: tuple[str, ...], code: int, last: str
) -> None:
    """The parts are of the shell, and those that are cut are expected to take longer than the budget."""
    names = ("copies", "plans-fcn8s", "contract-plan", "matrix", "plans-fcn32s")
    parts = tuple(
        _part(name, "true", minutes=9 if name in cut else 0.01, driver=True, spare=name == "plans-fcn32s")
        for name in names
    )
    for where in ("dlcv.runtime.sessions.cuda", "dlcv.benchmarks.gpu_suite.lacks"):
        monkeypatch.setattr(f"{where}.driver_problem", lambda: "")
    monkeypatch.setattr("dlcv.benchmarks.bench.nvml.find_gpu", lambda: (None, ""))
    monkeypatch.setattr("dlcv.benchmarks.bench.environment.environment", lambda *_: {"gpu": "NVIDIA H200"})
    monkeypatch.setattr("dlcv.benchmarks.gpu_suite.parts.PARTS", parts)
    monkeypatch.setattr(run, "FOLDER", tmp_path / "kept")
    done = CliRunner().invoke(main, ["--minutes", "1", "--output", str(tmp_path)])
    assert done.exit_code == code, done.stderr
    assert done.stderr.splitlines()[-1].startswith(last)


def test_the_command_says_what_is_missing_and_what_there_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("dlcv.runtime.sessions.cuda.driver_problem", lambda: DRIVER)
    done = CliRunner().invoke(main, ["--output", str(tmp_path)])
    assert (done.exit_code, done.stderr) == (
        2,
        f"gpu-suite: this machine has {DRIVER}; see what would run with --list\n",
    )
    assert "no part is named copy; there are copies, " in CliRunner().invoke(main, ["--only", "copy"]).stderr
    monkeypatch.setattr("dlcv.runtime.sessions.cuda.driver_problem", lambda: "")
    done = CliRunner().invoke(main, ["--dry-run", "--output", str(tmp_path)])
    assert done.exit_code == 2
    assert "leave it out" in done.stderr
