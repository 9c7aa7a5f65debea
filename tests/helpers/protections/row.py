"""One row of the table of protections."""

from __future__ import annotations

from typing import NamedTuple


class Protection(NamedTuple):
    """One row.

    Attributes:
        what: it protects, in words.
        file: where it stands, below the project's root.
        old: text that stands there once.
        new: what takes its place.
        test: the test that fails then, as pytest names it; of a parametrised one all cases are run, and one has to fail.
    """

    what: str
    file: str
    old: str
    new: str
    test: str


FAULTS, RUNTIME = "tests/faults/", "tests/runtime/"
