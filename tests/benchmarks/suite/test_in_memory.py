"""`tile` writes nothing to a disk, whose file system takes CPU time of its own accord."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dlcv.benchmarks.suite import cpu
from dlcv.benchmarks.suite.engines import Engines
from dlcv.benchmarks.suite.gates import Pairs

pytest.importorskip("onnx", reason="the export extra is not installed")
COUNT = 3


def test_both_ways_of_tile_write_to_memory_and_a_loop_is_given_per_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop's seconds are those of one round, and nothing is left behind."""
    seen: list[Path] = []

    def timed(ours: Callable[[], object], other: Callable[[], object], pairs: int) -> Pairs:
        ours()
        other()
        seen.extend(tmp_path.rglob("*.png"))
        return Pairs((6.0,) * pairs, (4.0,) * pairs)

    monkeypatch.setattr(cpu, "SMALL_TILES", COUNT)
    monkeypatch.setattr(cpu, "MEMORY", tmp_path)
    monkeypatch.setattr(cpu, "cpu_pairs", timed)
    with Engines() as engines:
        (gate,) = (one for one in cpu.cpu_gates(engines) if one.name == "tile")
        found = gate.measure(5)
    assert len(seen) == 2 * COUNT
    assert found == Pairs((6.0,) * 5, (4.0 / cpu.SERIAL_ROUNDS,) * 5)
    assert list(tmp_path.iterdir()) == []


def test_without_such_a_place_it_is_a_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "MEMORY", tmp_path / "none")
    with cpu.folder_in_memory() as folder:
        assert folder.is_dir()
    assert not folder.exists()
