"""Each protection, how it is taken away, and the test that fails then: what `tests/faults/test_protections.py` tries on a copy of the project.

A protection that no test misses is either not needed or not tested. So each row takes one away, in the smallest way, and names a test that
is known to fail for it.
"""

from __future__ import annotations

from protections.faults import FAULTS
from protections.nobody_in import NOBODY_IN
from protections.nothing_lost import NOTHING_LOST
from protections.row import Protection

ALL = (*NOTHING_LOST, *FAULTS, *NOBODY_IN)

__all__ = ["ALL", "Protection"]
