"""SIGTERM inside one process: who is told, and that nothing of it is left behind or inherited."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from dlcv.runtime.cli.termination import ended_by_sigterm

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of a Unix")


def in_a_process_of_its_own(code: str) -> None:
    """A signal that the test's own process would have to survive, beside whatever other tests have left in it."""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_it_does_what_ctrl_c_does_and_tells() -> None:
    in_a_process_of_its_own("""
import signal
from dlcv.runtime.cli.termination import ended_by_sigterm
with ended_by_sigterm("x") as came:
    assert not came()
    try:
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("nothing came")
    except KeyboardInterrupt:
        assert came()
""")


def test_who_has_a_handler_of_ctrl_c_hears_it() -> None:
    in_a_process_of_its_own("""
import signal
from dlcv.runtime.cli.termination import ended_by_sigterm
heard = []
with ended_by_sigterm("x") as came:
    signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    signal.raise_signal(signal.SIGTERM)
    assert came()
assert heard == [signal.SIGINT]
""")


def test_nothing_is_left_behind() -> None:
    in_a_process_of_its_own("""
import os, signal, threading
from dlcv.runtime.cli.termination import ended_by_sigterm
handler, threads, files = signal.getsignal(signal.SIGTERM), threading.active_count(), os.listdir("/dev/fd")
for _ in range(3):
    with ended_by_sigterm("x"):
        assert signal.getsignal(signal.SIGTERM) is not handler
        with ended_by_sigterm("y"):  # a command that calls another
            pass
        assert threading.active_count() == threads + 1
assert signal.getsignal(signal.SIGTERM) is handler
assert signal.set_wakeup_fd(-1) == -1
assert threading.active_count() == threads
assert len(os.listdir("/dev/fd")) == len(files)
""")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_one_that_comes_before_the_command_has_begun(number: int, code: int) -> None:
    program = f"""
import signal
from dlcv.runtime.cli import termination
from dlcv.runtime.cli.common import Command
signal.signal(signal.SIGINT, signal.default_int_handler)
termination._watch = lambda name, came: signal.raise_signal({int(number)})
Command("x", callback=lambda: print("it has begun"))([], prog_name="x")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("", "x: interrupted; what was finished is whole\n", code)


def test_a_thread_may_run_a_command() -> None:
    found: list[bool] = []

    def work() -> None:
        with ended_by_sigterm("x") as came:
            found.append(came())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]


def test_a_forked_process_ends_at_once_and_its_parent_goes_on() -> None:
    code = """
import os, signal, time
from dlcv.runtime.cli.termination import ended_by_sigterm
with ended_by_sigterm("x") as came:
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
    os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGTERM, status
    time.sleep(0.1)
    assert not came()
"""
    in_a_process_of_its_own(code)


def test_a_forked_process_that_stays_does_not_hold_up_the_end() -> None:
    in_a_process_of_its_own("""
import os, signal, threading, time
from dlcv.runtime.cli.termination import ended_by_sigterm
with ended_by_sigterm("x"):
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
left = threading.active_count()
os.kill(child, signal.SIGKILL)
assert left == 1, "the thread that watches has seen the end of its pipe"
""")


def test_what_a_thread_has_blocked_stays_blocked_over_a_fork() -> None:
    in_a_process_of_its_own("""
import os, signal
from dlcv.runtime.cli.termination import ended_by_sigterm
for blocked in ({signal.SIGTERM}, set()):
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    with ended_by_sigterm("x"):
        child = os.fork()
        found = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        if not child:
            os._exit(found != blocked)
        assert found == blocked
        assert os.waitpid(child, 0)[1] == 0
""")
