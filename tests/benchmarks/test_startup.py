"""The commands and the library start about as fast as the bare imports that they cannot do without.

The bounds are those that the project promises. They are ratios of whole processes, run in turn; the medians seen were 1.2 for
`--help` and 0.9 for the library.
"""

from __future__ import annotations

import pytest

from dlcv.benchmarks import startup


@pytest.mark.slow
@pytest.mark.parametrize("command", startup.COMMANDS)
def test_help_takes_at_most_half_again_what_click_takes(command: str) -> None:
    assert startup.help_ratio(command).median <= 1.5


@pytest.mark.slow
@pytest.mark.parametrize("statement", ["import dlcv.runtime", "from dlcv.runtime import load"])
def test_the_library_adds_little_to_what_it_stands_on(statement: str) -> None:
    assert startup.import_ratio(statement).median <= 1.2


@pytest.mark.slow
def test_the_measurement_sees_a_heavy_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "BARE", "pass")
    assert startup.help_ratio("dlcv-infer", pairs=5).median > 1.5
