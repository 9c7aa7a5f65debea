"""What tests of the commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from infer_command import invoke


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., str]:
    """Runs what must be refused: exit code 2, nothing on stdout, one line on stderr; returns the line."""

    def run(*arguments: object) -> str:
        code, out, err = invoke(*arguments, "--output", tmp_path / "masks")
        assert (code, out) == (2, "")
        assert err.startswith("dlcv-infer: ")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        return err.removeprefix("dlcv-infer: ").rstrip("\n")

    return run
