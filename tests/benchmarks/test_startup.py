"""What starting costs is held to its bounds by the gates of `dlcv.benchmarks.suite`; here: that the measurement sees what it should."""

from __future__ import annotations

import pytest

from dlcv.benchmarks import startup
from dlcv.benchmarks.suite.starting import IMPORTS, starting_gates


def test_every_command_has_a_gate() -> None:
    assert [gate.name for gate in starting_gates()] == [*IMPORTS, *(f"help-{name}" for name in startup.COMMANDS)]


@pytest.mark.slow
def test_the_measurement_sees_a_heavy_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "BARE", "pass")
    assert startup.help_ratio("dlcv-infer", pairs=5).median > 1.5
