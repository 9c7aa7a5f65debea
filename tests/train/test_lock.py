"""A run's folder: held as long as somebody in this process trains there, refused to other processes."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from dlcv.runtime.errors import UsageError
from dlcv.runtime.locks import lock_folder
from dlcv.train.lock import hold

pytestmark = pytest.mark.skipif(os.name == "nt", reason="folders are locked on a Unix only")


class Owner:
    """Something that trains."""


def free(folder: Path) -> bool:
    try:
        descriptor = lock_folder(folder)
    except Exception:
        return False
    assert descriptor is not None
    os.close(descriptor)
    return True


def test_it_is_held_as_long_as_the_last_owner_lives(tmp_path: Path) -> None:
    first, second = Owner(), Owner()
    hold(tmp_path, first)
    hold(tmp_path / "." / "", second)
    assert not free(tmp_path)
    del first
    gc.collect()
    assert not free(tmp_path)
    del second
    gc.collect()
    assert free(tmp_path)


def test_another_process_is_refused_in_words(tmp_path: Path) -> None:
    other = lock_folder(tmp_path)
    assert other is not None
    with pytest.raises(
        UsageError, match=r"is in use by another run of dlcv-train; wait for it, or name another folder"
    ):
        hold(tmp_path, Owner())
    os.close(other)


def test_of_several_processes_of_a_run_the_first_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    owner = Owner()
    hold(tmp_path, owner)
    assert free(tmp_path)
