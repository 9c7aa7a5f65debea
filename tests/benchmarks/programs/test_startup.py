"""What starting costs is held to its bounds by the gates of `dlcv.benchmarks.suite`; here: that the measurement sees what it should."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from dlcv.benchmarks.programs import startup
from dlcv.benchmarks.programs.startup import IMPORTS
from dlcv.benchmarks.suite.starting import starting_gates


def test_every_command_has_a_gate() -> None:
    assert [gate.name for gate in starting_gates()] == [*IMPORTS, *(f"help-{name}" for name in startup.COMMANDS)]


def test_the_table_has_the_bounds_of_the_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("help_ratio", "import_ratio"):
        monkeypatch.setattr(startup, name, lambda *_: "-")
    lines = CliRunner().invoke(startup.main, []).stdout.splitlines()
    bounds = {line.split("|")[1].strip(): line.split("|")[4].strip() for line in lines if line.startswith("| `")}
    gates = {gate.ours: f"{gate.at_most:g}" for gate in starting_gates()}
    assert bounds == gates


@pytest.mark.slow
def test_the_measurement_sees_a_heavy_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "BARE", "pass")
    assert startup.help_ratio("dlcv-infer", pairs=5).median > 1.5
