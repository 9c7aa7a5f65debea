"""SIGTERM while a run saves: it has time for that, and two of them are one request."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of a Unix")

CODE = """
import signal, sys, time
from contextlib import nullcontext
from dlcv.runtime.cli import termination
from dlcv.train.interruption import stop_signal
termination.GRACE_S, termination.SAVING_S = 0.1, float(sys.argv[1])
with termination.ended_by_sigterm("x"), stop_signal() as stop:
    with termination.saving() if sys.argv[2] == "saving" else nullcontext():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # of the scheduler, and of torchrun
        time.sleep(2.0)
        print("saved", stop())
"""


@pytest.mark.parametrize(
    ("longest_s", "doing", "said", "code"),
    [("600", "saving", "saved True\n", 0), ("0.2", "saving", "", 143), ("600", "computing", "", 143)],
)
def test_what_is_being_saved_is_waited_for_but_not_for_ever(longest_s: str, doing: str, said: str, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, longest_s, doing], check=False, capture_output=True, text=True, timeout=600
    )
    assert (done.stdout, done.returncode) == (said, code), done.stderr
    assert done.stderr == ("x: ended by SIGTERM; what was finished is whole\n" if code else "")
