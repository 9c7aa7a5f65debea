"""The hidden folder of an export: no two exports share one, or take each other's away."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from dlcv.export import staging as staging_module
from dlcv.export.staging import staging_folder
from dlcv.runtime.errors import UsageError
from dlcv.runtime.locks import lock_folder

pytestmark = pytest.mark.skipif(os.name == "nt", reason="folders are locked on a Unix only")


@pytest.mark.parametrize("opened", [False, True])
def test_one_that_another_took_away_before_it_was_locked_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: bool
) -> None:
    def too_late(folder: Path) -> int | None:
        """The other export has locked, removed and let go of the folder before this one locks it, or while it does."""
        held = lock_folder(folder) if opened else None
        shutil.rmtree(folder)
        return held if opened else lock_folder(folder)

    monkeypatch.setattr(staging_module, "lock_folder", too_late)
    with (
        pytest.raises(UsageError, match=r"another export of m into .* is at work; wait for it"),
        staging_folder(tmp_path / "out", "m"),
    ):
        raise AssertionError("there is no folder to write into")
    assert list((tmp_path / "out").iterdir()) == []
