"""Slowdowns that are planted into our code are caught: by the real gates, with few pairs."""

from __future__ import annotations

import pytest

from dlcv.benchmarks.suite import __main__ as cli
from dlcv.benchmarks.suite.plants import PLANTS
from dlcv.benchmarks.suite.run import run_suite
from dlcv.runtime.errors import UsageError

pytest.importorskip("onnx", reason="the export extra is not installed")


def test_the_command_knows_every_plant() -> None:
    """It names them itself, so that its help needs no import."""
    assert tuple(PLANTS) == cli.PLANT_NAMES


def test_an_unknown_gate_names_the_known_ones() -> None:
    with pytest.raises(
        UsageError, match=r"unknown gate 'speed'; known gates: file-to-file, serial, session, int8-onnxruntime"
    ):
        run_suite(["speed"])


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_slowdown_fails_its_gates(name: str) -> None:
    outcomes = run_suite(pairs=3, plant=name)
    measured = [one for one in outcomes if one.pairs is not None]
    assert measured, [one.sentence for one in outcomes]
    assert [one.sentence for one in measured if one.passed] == []


def test_a_plant_is_gone_afterwards() -> None:
    from dlcv.runtime.decode import Decoder
    from dlcv.runtime.sessions.base import Session

    before = Decoder.decode_file, Session.run
    for plant in PLANTS.values():
        with plant.put():
            pass
    assert (Decoder.decode_file, Session.run) == before
