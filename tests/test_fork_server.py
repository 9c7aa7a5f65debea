"""A forked command is what a new process is, as far as a command can tell."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fork_server import OPSET, fork_server

SEEN = """
import json, os, random, sys
import numpy
print(json.dumps([sys.argv, os.getcwd(), dict(os.environ), __name__, sys.path, sys.stdin.read(), sys.stdout.encoding]))
print(len(os.listdir("/proc/self/task")), sorted(os.listdir("/proc/self/fd")), file=sys.stderr)
"""
ENDS = (
    "import sys; sys.exit(3)",
    "raise SystemExit('a line')",
    "raise SystemExit(None)",
    "raise SystemExit(-1)",
    "import sys; print('not a line', end=''); sys.stderr.write('nor this'); sys.exit(0)",
    "import sys; sys.stdout.close(); sys.exit(2)",
    "raise KeyboardInterrupt",
    "raise ValueError('a bug')",
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "import atexit; atexit.register(print, 'at the end'); print('first')",
    "import threading, time; threading.Thread(target=lambda: (time.sleep(0.2), print('a thread'))).start()",
)


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    with fork_server(["numpy"]) as found:
        if not found.forks:
            pytest.skip("a new Python has more than one thread here, or no /proc: commands get processes of their own")
        yield found


def _plain(code: str, arguments: list[str], cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_it_sees_what_a_new_process_sees(server: Any, tmp_path: Path) -> None:
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(tmp_path),
        "ONLY": "here",
        "LC_ALL": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
    }
    forked, plain = (
        server.run(SEEN, ["--a", "b c"], cwd=tmp_path, env=env, timeout=60),
        _plain(SEEN, ["--a", "b c"], tmp_path, env),
    )
    assert plain.returncode == forked.returncode == 0, forked.stderr
    assert forked.stdout == plain.stdout
    assert forked.stderr == plain.stderr


@pytest.mark.parametrize("code", ENDS)
def test_it_ends_as_a_new_process_does(server: Any, tmp_path: Path, code: str) -> None:
    forked, plain = (
        server.run(code, [], cwd=tmp_path, env=dict(os.environ), timeout=60),
        _plain(code, [], tmp_path, dict(os.environ)),
    )
    assert (forked.returncode, forked.stdout) == (plain.returncode, plain.stdout)
    assert (
        forked.stderr.splitlines()[-1:] == plain.stderr.splitlines()[-1:]
    )  # a traceback begins a few frames further out


def test_numbers_at_random_differ(server: Any, tmp_path: Path) -> None:
    code = "import random, numpy, uuid; print(random.random(), numpy.random.rand(), uuid.uuid4())"
    said = [server.run(code, [], cwd=tmp_path, env=dict(os.environ), timeout=60).stdout.split() for _ in range(2)]
    assert all(a != b for a, b in zip(*said, strict=True))


def test_one_that_hangs_is_ended_and_the_next_gets_a_new_process(tmp_path: Path) -> None:
    with fork_server([]) as own:
        with pytest.raises(subprocess.TimeoutExpired):
            own.run(
                "import os, time; print(os.getpid(), flush=True); time.sleep(600)",
                [],
                cwd=tmp_path,
                env=dict(os.environ),
                timeout=1,
            )
        assert not own.forks
        assert own.run("print(1)", [], cwd=tmp_path, env=dict(os.environ), timeout=60).stdout == "1\n"


def test_a_server_with_threads_is_not_forked(tmp_path: Path) -> None:
    (tmp_path / "threaded.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    with pytest.MonkeyPatch.context() as patch, _threaded(patch, tmp_path) as own:
        assert not own.forks
        assert own.run("print(2)", [], cwd=tmp_path, env=dict(os.environ), timeout=60).stdout == "2\n"
        assert own.run("import sys; sys.exit(4)", [], cwd=tmp_path, env=dict(os.environ), timeout=60).returncode == 4


def _threaded(patch: pytest.MonkeyPatch, folder: Path) -> Any:
    patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    return fork_server(["threaded"])


def test_a_server_that_was_ended_is_told(tmp_path: Path) -> None:
    with fork_server([]) as own:
        os.kill(own.process.pid, signal.SIGKILL)
        own.process.wait(timeout=60)
        with pytest.raises((RuntimeError, OSError)):
            own.run("print(1)", [], cwd=tmp_path, env=dict(os.environ), timeout=60)


def test_its_forks_find_the_exporters_table_read() -> None:
    pytest.importorskip("onnxscript", reason="the export extra is not installed")
    from dlcv.export import onnx_from_checkpoint

    assert OPSET == onnx_from_checkpoint.OPSET
