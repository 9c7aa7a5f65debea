"""Slowdowns that are planted into our code are caught: by the real gates, with few pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from dlcv.benchmarks import untrained
from dlcv.benchmarks.suite import __main__ as cli
from dlcv.benchmarks.suite import cpu, engines, run
from dlcv.benchmarks.suite.gates import Gate, Outcome
from dlcv.benchmarks.suite.plants import PLANTS
from dlcv.benchmarks.suite.run import run_suite
from dlcv.runtime.errors import UsageError

pytest.importorskip("onnx", reason="the export extra is not installed")


def test_the_command_knows_every_plant() -> None:
    """It names them itself, so that its help needs no import."""
    assert tuple(PLANTS) == cli.PLANT_NAMES


def test_an_unknown_gate_names_the_known_ones() -> None:
    with pytest.raises(
        UsageError, match=r"unknown gate 'speed'; known gates: decode, encode, session, call, tile, int8-onnxruntime"
    ):
        run_suite(["speed"])


@pytest.fixture(scope="module")
def _graphs_once() -> Iterator[None]:
    """Each untrained graph is exported once for all plants."""
    real, kept = untrained.untrained, {}

    def remembered(path: Path, width: float, size: int, **how: Any) -> Path:
        key = (width, size, *how.items())
        if key not in kept:
            kept[key] = real(path, width, size, **how).read_bytes()
        path.write_bytes(kept[key])
        return path

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(untrained, "untrained", remembered)
        yield


TRIES = (3, 5, 9)
"""Pairs: a median of three may miss half as much again where a moment of the other way was slow; not three times, with more of them."""


def _seen(gates: Sequence[Gate], pairs: int, say: Callable[[str], None]) -> list[Outcome]:
    """Each gate measured until its median is above its bound: that one which fails is measured again is seen in test_gates.py."""
    outcomes = []
    for gate in gates:
        for count in () if gate.missing else TRIES:
            found = gate.measure(count)
            if found.ratio.median > gate.at_most:
                break
        outcomes.append(Outcome(gate, None if gate.missing else found))
    return outcomes


@pytest.mark.slow
@pytest.mark.usefixtures("_graphs_once")
@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_slowdown_is_beyond_the_bounds_of_its_gates(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the median: of 3 pairs the quartile on the good side is the least one, which one slow moment of the other way brings down."""
    monkeypatch.setattr(engines, "TILES", 6)
    monkeypatch.setattr(cpu, "CALLS", 2)
    monkeypatch.setattr(run, "run_gates", _seen)
    outcomes = run_suite(plant=name)
    measured = [one for one in outcomes if one.pairs is not None]
    assert measured, [one.sentence for one in outcomes]
    assert [one.sentence for one in measured if not one.pairs.ratio.median > one.gate.at_most] == []


def test_most_plants_are_no_larger_than_what_a_person_would_miss() -> None:
    """Twice as long at most, but for whole runs by the clock and `tile`, whose gates see only what is gross."""
    gross = {name for name, plant in PLANTS.items() if plant.times > 2}
    assert gross == {"pipeline", "lock", "tile"}


def test_a_plant_is_gone_afterwards() -> None:
    from dlcv.runtime import masks
    from dlcv.runtime.records.manifest import Manifest
    from dlcv.runtime.sessions.base import Session
    from dlcv.runtime.tiles.decode import Decoder

    before = Decoder.decode_file, Session.run, masks.encode_mask, Manifest.add
    for plant in PLANTS.values():
        with plant.put(plant.times):
            pass
    assert (Decoder.decode_file, Session.run, masks.encode_mask, Manifest.add) == before
