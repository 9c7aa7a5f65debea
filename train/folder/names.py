"""Names of what lies in a run's folder, for those who write it and those who only read it. No torch here."""

from __future__ import annotations

PROBE_FOLDER = "probe"
"""A few validation images, which export verifies on."""
SPLIT_NAME = "split.csv"
"""Which images trained and which validated."""
UNREADABLE_NAME = "unreadable.csv"
"""Which images were left out because they cannot be used, and why."""
