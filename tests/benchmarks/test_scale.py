"""The model of scale against numbers worked out by hand, and against a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dlcv.benchmarks.scale.measuring import pipeline_s, run_processes
from dlcv.benchmarks.scale.stations import Bound, Measured, Station, bound_of, stations_of, stations_on_paper

MEASURED = Measured({"codec": 0.004, "session": 0.006}, read_bytes=80_000, written_bytes=20_000)
"""10 ms of a core and 0.1 MB a tile."""


def test_the_slowest_station_sets_the_bound() -> None:
    assert bound_of([Station("a", 0.01, 2), Station("b", 0.02, 8)]) == Bound(200.0, "a")


def test_few_tiles_in_flight_set_it_too() -> None:
    """3 tiles over the 30 ms of a lone one."""
    found = bound_of([Station("a", 0.01, 2), Station("b", 0.02, 8)], in_flight=3)
    assert found.per_second == pytest.approx(100) and found.by == "3 tiles in flight"


def test_cores_share_codec_and_session() -> None:
    assert bound_of(stations_of(MEASURED, cores=2)).per_second == pytest.approx(200)


def test_a_disk_and_a_link_have_their_bytes() -> None:
    """0.1 MB a tile: 50 MB a second are 500 tiles, 20 MB are 200."""
    stations = {one.name: one.per_second for one in stations_of(MEASURED, cores=100, disk_mb_s=50, link_mb_s=20)}
    assert stations == pytest.approx({"cores": 10_000, "disk": 500, "link": 200})


def test_gpus_take_the_session_from_the_cores() -> None:
    stations = stations_of(replace(MEASURED, session_s=0.002), cores=2, gpus=4)
    assert {one.name: one.per_second for one in stations if one.name in ("cores", "GPUs")} == pytest.approx(
        {"cores": 500, "GPUs": 2000}
    )
    assert bound_of(stations).by == "cores"


def test_machines_have_a_disk_and_a_link_each_and_gpus_share_them() -> None:
    """One machine: 100 tiles/s of its core, 50 of its disk, 20 of its link."""
    for number in (1, 4):
        stations = {one.name: one.per_second for one in stations_on_paper(MEASURED, number, 1, 5.0, 2.0)}
        assert stations == pytest.approx({"cores": 100 * number, "disk": 50 * number, "link": 20 * number})
    on_gpus = stations_on_paper(replace(MEASURED, session_s=0.002), 4, 1, 5.0, 2.0)
    assert {one.name: one.per_second for one in on_gpus} == pytest.approx(
        {"cores": 250, "disk": 50, "link": 20, "GPUs": 2000}
    )


def test_what_our_python_costs_a_tile(tmp_path: Path) -> None:
    """Some of it, and less than a tenth of a second on any machine: threads, queues, a row and a file."""
    assert 0 < pipeline_s(tmp_path, tiles=24, few=4, rounds=3) < 0.1


def test_processes_run_on_a_core_each(tile_folder: Path, tiny_onnx: Path, tmp_path: Path) -> None:
    """All tiles are run, and a figure comes back; how near it is to the prediction is measured, not tested."""
    paths = sorted(tile_folder.rglob("*.png"))
    run = run_processes(paths, tiny_onnx, tmp_path, 2)
    assert run.per_second > 0 and 0 <= run.others < 1
    assert len(list(tmp_path.glob("list-2-*-masks/**/*.png"))) == len(paths)
