"""Spoiled files of every kind that dlcv reads: each ends in success or in one line, in bounded time and memory.

The reading is done in a process of its own (`benchmarks/fuzz/pool.py`). A mutant that ends otherwise is named in the message with the
command that makes it again. The long tier: `pytest --long tests/fuzz`, or `python -m dlcv.benchmarks.fuzz`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="the export extra is not installed")
pytest.importorskip("torch", reason="the train extra is not installed")
pytest.importorskip("rasterio", reason="the geo extra is not installed")
pytest.importorskip("minisign", reason="the sign extra is not installed")
pytest.importorskip("safetensors", reason="the train extra is not installed")

from dlcv.benchmarks.fuzz.campaign import (
    PEAK_BYTES,
    CampaignReport,
    run_campaign,
    told,
    write_seeds,
)
from dlcv.benchmarks.fuzz.pool import HANG_S, Pool
from dlcv.benchmarks.fuzz.seeds import Seeds
from dlcv.benchmarks.fuzz.targets import TARGETS

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is read from Linux's /proc")

SHORT, LONG = 1_500, 100_000


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Seeds]:
    folder = tmp_path_factory.mktemp("seeds")
    return folder, write_seeds(folder)


def check(report: CampaignReport, least: int) -> None:
    different = {(each.kind, each.outcome, each.error): told(each) for each in reversed(report.bad)}
    assert not report.bad, "made again by python -m dlcv.benchmarks.fuzz with:\n" + "\n".join(
        list(different.values())[:20]
    )
    facts = report.to_dict()
    assert facts["inputs"] >= least
    assert set(facts["kinds"]) == set(TARGETS)
    assert facts["peak_bytes"] <= PEAK_BYTES
    assert facts["slowest_s"] < HANG_S
    for kind, each in facts["kinds"].items():
        assert each["outcomes"].get("refused"), f"no mutant of {kind} was noticed"
        assert each["error_kinds"] > 1 or kind == "key", f"one sentence for all mutants of {kind}: they get no further"


def test_spoiled_files_end_in_success_or_a_line(seeds: tuple[Path, Seeds], tmp_path: Path) -> None:
    """The tier of CI. Valid files are read first: what is refused whole would prove nothing spoiled."""
    with Pool(seeds[0]) as pool:
        report = run_campaign(pool, seeds[1], SHORT)
    if path := os.environ.get("DLCV_FUZZ_JSON"):
        Path(path).write_text(json.dumps(report.to_dict(), indent=1))
    check(report, SHORT)


@pytest.mark.long
def test_a_hundred_thousand_spoiled_files(seeds: tuple[Path, Seeds]) -> None:
    with Pool(seeds[0]) as pool:
        check(run_campaign(pool, seeds[1], LONG, first=10_000), LONG)
