"""A file or a folder that is held: refused to others, free again when its holder ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dlcv.runtime.locks import InUse, lock_folder

pytestmark = pytest.mark.skipif(os.name == "nt", reason="folders are locked on a Unix only")


def test_a_folder_is_held_once(tmp_path: Path) -> None:
    held = lock_folder(tmp_path)
    assert held is not None
    with pytest.raises(InUse):
        lock_folder(tmp_path)
    os.close(held)
    again = lock_folder(tmp_path)
    assert again is not None
    os.close(again)
    assert list(tmp_path.iterdir()) == [], "no lock file is left"


def test_one_whose_holder_was_killed_is_free(tmp_path: Path) -> None:
    code = f"from pathlib import Path; from dlcv.runtime.locks import lock_folder; lock_folder(Path({str(tmp_path)!r})); print(1, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"
        with pytest.raises(InUse):
            lock_folder(tmp_path)
        process.kill()
    held = lock_folder(tmp_path)
    assert held is not None
    os.close(held)


def test_what_cannot_be_locked_is_nobodys(tmp_path: Path) -> None:
    assert lock_folder(tmp_path / "missing") is None
