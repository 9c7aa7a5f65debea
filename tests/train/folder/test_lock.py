"""A run's folder: held as long as somebody in this process trains there, refused to other processes."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dlcv.runtime.errors import UsageError
from dlcv.runtime.locks import lock_folder
from dlcv.train.folder.lock import hold

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
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    alone = Owner()  # a cluster's scheduler sets such variables, too
    hold(tmp_path, alone)
    assert not free(tmp_path)
    del alone
    gc.collect()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    owner = Owner()
    hold(tmp_path, owner)
    assert free(tmp_path)


def test_workers_do_not_hold_it_when_the_training_process_has_gone(tmp_path: Path) -> None:
    """A forked worker sleeps on after its parent was killed, as it does until it looks for it."""
    code = """
import os, signal, sys, time
from pathlib import Path
from dlcv.train.folder.lock import hold
class Owner: pass
owner = Owner()
hold(Path(sys.argv[1]), owner)
child = os.fork()
if not child:
    del owner  # what a child lets go is not the parent's
    sys.stderr.flush()
    os._exit(0)
os.waitpid(child, 0)
child = os.fork()
if not child:
    print(os.getpid(), flush=True)
    time.sleep(600)
    os._exit(0)
time.sleep(600)
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert parent.stdout is not None and parent.stderr is not None
    child = int(parent.stdout.readline())
    try:
        assert not free(tmp_path)
        parent.kill()
        parent.wait()
        os.kill(child, 0)  # it is there still
        assert free(tmp_path)
    finally:
        parent.kill()
        os.kill(child, signal.SIGKILL)
        assert parent.stderr.read() == ""
        parent.stdout.close()
        parent.stderr.close()
