"""`dlcv-bench`: options, files, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dlcv.benchmarks.bench.baselines import BASELINES
from dlcv.benchmarks.bench.measure import Effort
from dlcv.benchmarks.bench.request import MEASURES, Request
from dlcv.benchmarks.bench.result import HOST, Case, Engine, Lane, Timing, to_json
from dlcv.benchmarks.bench.result import Result as BenchResult
from dlcv.benchmarks.cli import bench
from dlcv.benchmarks.cli.bench import main

QUICK = [
    "--device",
    "cpu",
    "--session",
    "onnxruntime",
    "--measure",
    "host",
    "--baselines",
    "bare",
    "--rounds",
    "8",
    "--pairs",
    "8",
    "--warm-up",
    "0.05",
]


def _run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


def _result(path: Path, ours_ms: float, cpu: str = "A CPU") -> Path:
    engine = Engine("fcn8s.onnx", "fcn8s", "segmentation", "fp32", "mask", (64, 64))
    lanes = {"dlcv": ours_ms, "dlcv again": ours_ms, "bare ONNX Runtime": 9.0}
    timing = Timing({way: Lane(tuple(ms + 0.01 * k for k in range(20))) for way, ms in lanes.items()})
    case = Case(engine, "cpu", "onnxruntime", "fp32", 1, "", {HOST: timing})
    path.write_text(to_json(BenchResult({"cpu": cpu, "cores": 2, "gpu": "", "system": "Linux"}, {}, (case,))))
    return path


def test_a_run_prints_tables_and_writes_files(tiny_onnx: Path, tmp_path: Path) -> None:
    done = _run(tiny_onnx, *QUICK, "--batch", "1,2", "--output", tmp_path / "bench")
    assert done.exit_code == 0, done.output
    assert "## Times" in done.stdout and "noise: dlcv / dlcv again" in done.stdout
    assert "measuring mask.onnx with --device cpu --session onnxruntime, batch 2" in done.stderr
    assert {path.name for path in (tmp_path / "bench").iterdir()} == {
        "bench.json",
        "bench.csv",
        "bench.md",
        "bench.html",
    }
    again = _run(tiny_onnx, *QUICK, "--tolerance", 20, "--compare", tmp_path / "bench" / "bench.json")
    assert again.exit_code == 0, again.output
    assert (
        "## Comparison" in again.stdout
        and "0 worse" in again.stdout
        and "batch 2: measured before only" in again.stdout
    )


def test_worse_has_an_exit_code_of_its_own(tmp_path: Path) -> None:
    old, same, slow = (
        _result(tmp_path / name, ms) for name, ms in (("old.json", 10), ("same.json", 10.01), ("slow.json", 12))
    )
    done = _run("--compare", old, same)
    assert done.exit_code == 0, done.output
    done = _run("--compare", old, slow, "--output", tmp_path / "out")
    assert done.exit_code == 1
    assert done.stderr.startswith(
        "dlcv-bench: 2 of 2 measurements are worse, the most fcn8s.onnx, onnxruntime on cpu, in fp32, batch 1"
    )
    assert "| worse" in " ".join(done.stdout.split())
    written = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [change["verdict"] for change in written["changes"]] == ["worse", "worse"]
    assert (tmp_path / "out" / "comparison.md").read_text() == done.stdout
    assert _run("--compare", slow, old).exit_code == 0
    assert _run("--compare", old, slow, "--tolerance", 0.3).exit_code == 0


def test_another_machine_is_told(tmp_path: Path) -> None:
    done = _run("--compare", _result(tmp_path / "a.json", 10), _result(tmp_path / "b.json", 30, "Another CPU"))
    assert done.exit_code == 1
    assert "absolute times are not compared, ratios alone are" in done.stdout
    assert "1 of 1 measurements are worse" in done.stderr


def test_the_command_lines_defaults_are_the_librarys() -> None:
    context = main.make_context("dlcv-bench", ["a.onnx"])
    effort = Effort(**{name: context.params.pop(name) for name in ("rounds", "pairs", "seconds", "warm_up_s")})
    given = {name: value for name, value in context.params.items() if name in Request.__dataclass_fields__}
    assert given.keys() >= {"measures", "baselines", "processes", "tiles", "in_flight", "batches"}
    assert Request(**given, effort=effort) == Request(engines=(Path("a.onnx"),))
    assert (MEASURES, tuple(BASELINES)) == (bench.MEASURES, bench.BASELINES)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "expected an engine: dlcv-bench fcn8s.onnx"),
        (["a.json"], "a.json is a result; name it alone, with --compare BASELINE.json"),
        (["none.onnx"], "none.onnx does not exist"),
        (["none.onnx", "--tolerance", "0.5", "--any-engine"], "--tolerance, --any-engine: for --compare; leave it out"),
        (
            ["a.json", "--compare", "a.json", "--batch", "4", "--require-hash", "0" * 64],
            "--batch, --require-hash: two results are compared and nothing is measured; leave it out",
        ),
        (["--compare", "none.json", "a.onnx"], "none.json cannot be read: No such file or directory"),
        (["a.onnx", "--batch", "0"], "'0' is no number from 1"),
        (["a.onnx", "--batch", ""], "expected one at least"),
        (["a.onnx", "--measure", ","], "expected one at least"),
        (["a.onnx", "--checkpoint", "none.pt"], "File 'none.pt' does not exist"),
        (["a.onnx", "--data", "none"], "'none' does not exist"),
        (["a.onnx", "--session", "auto,other"], "'other' is not one of auto, tensorrt"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = _run(*arguments)
    assert done.exit_code == 2
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("dlcv-bench: ") and expected in line, done.stderr


def test_an_engine_must_be_what_is_asked_for(tiny_onnx: Path) -> None:
    done = _run(tiny_onnx, *QUICK, "--require-hash", "0" * 64)
    assert done.exit_code == 2
    assert "and --require-hash wants" in done.stderr
