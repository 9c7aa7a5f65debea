"""Runs commands in processes that are forked from one that has imported torch, whose import takes seconds of a core each time.

`python tests/helpers/fork_server.py FD MODULES` is that process, started afresh, never forked from a test's process. It has imported packages of
others and nothing of ours, has run nothing of theirs but the reading of the exporter's table (see `exporter_table.py`), and has one thread; its
forks find graphs that are translated already (`exported_graphs.py`);
where it has more, commands get an ordinary new process each.
What starting and ending a process itself does, its imports, its signals or what is freed last, is no matter to test with this.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

import exported_graphs
import exporter_table

IMPORTED = (
    "numpy", "cv2", "torch", "torch.utils.data", "torch._dynamo", "torch.export._trace", "torch.onnx._internal.exporter._compat",
    "torch.onnx._internal.exporter._torchlib.ops", "torch._functorch.aot_autograd", "torch._inductor.fx_passes.dedupe_symint_uses",
    "sympy.tensor.tensor", "onnx", "onnxscript.optimizer", "onnxscript.function_libs.torch_lib.ops",
    "onnxscript.rewriter.onnx_fusions", "matplotlib.pyplot",
)  # fmt: skip
"""What takes long to import, some of it torch's own modules: one that another torch lacks is left out. No session's: they start threads."""

OPSET = 18
"""Of most exports: `dlcv.export.onnx_from_checkpoint.OPSET`, which a test holds this to."""


class ForkServer:
    """The process, from the side of the tests."""

    def __init__(self, imported: Sequence[str] = IMPORTED) -> None:
        self._socket, theirs = socket.socketpair()
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno()), *imported],
                pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        self._answers = self._socket.makefile("r")
        self.forks = self._answer().get("threads") == 1

    def run(
        self, code: str, arguments: list[str], *, cwd: Path, env: dict[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, ...)`."""
        words = [sys.executable, "-c", code, *arguments]
        if not self.forks:
            return subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout, check=False)
        with open(os.devnull) as nothing, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            request = json.dumps({"code": code, "argv": ["-c", *arguments], "cwd": str(cwd), "env": env}).encode()
            socket.send_fds(
                self._socket, [len(request).to_bytes(8, "big")], [nothing.fileno(), out.fileno(), err.fileno()]
            )
            self._socket.sendall(request)
            child = self._answer()["pid"]
            self._socket.settimeout(timeout)
            try:
                code_of_exit = self._answer()["returncode"]
            except TimeoutError:
                os.kill(child, signal.SIGKILL)
                self.forks = False  # a socket's file that was left in the middle cannot be read on
                raise subprocess.TimeoutExpired(words, timeout, _text(out), _text(err)) from None
            finally:
                self._socket.settimeout(None)
            return subprocess.CompletedProcess(words, code_of_exit, _text(out), _text(err))

    def close(self) -> None:
        """Ends the process: it finds nobody at the other end."""
        self._answers.close()
        self._socket.close()
        self.process.wait(timeout=60)

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            raise RuntimeError(f"the process that forks has ended with {self.process.wait(timeout=60)}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


@contextlib.contextmanager
def fork_server(imported: Sequence[str] = IMPORTED) -> Iterator[ForkServer]:
    """A server for as long as it is wanted."""
    server = ForkServer(imported)
    try:
        yield server
    finally:
        server.close()


def _serve(connection: socket.socket, imported: Sequence[str]) -> dict[str, Any]:
    """Forks a child a request; returns in the child alone, with what it is to run."""
    for name in imported:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    if "torch" in imported:
        exporter_table.read_now(OPSET)
        if folder := os.environ.get("DLCV_TRANSLATED"):  # of a run of tests (conftest.py)
            exported_graphs.translate_once(Path(folder))
    _send(connection, threads=len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0)
    while True:
        head, standard, _, _ = socket.recv_fds(connection, 8, 3)
        if not head:
            sys.exit()
        request = json.loads(_exactly(connection, int.from_bytes(head, "big")))
        child = os.fork()
        if child == 0:
            connection.close()
            for number, descriptor in enumerate(standard):
                os.dup2(descriptor, number)
                os.close(descriptor)
            return dict(request)
        for descriptor in standard:
            os.close(descriptor)
        _send(connection, pid=child)
        _, status = os.waitpid(child, 0)
        _send(connection, returncode=os.waitstatus_to_exitcode(status))


def _send(connection: socket.socket, **answer: int) -> None:
    connection.sendall(json.dumps(answer).encode() + b"\n")


def _exactly(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        found += connection.recv(count - len(found))
    return found


def _become(request: dict[str, Any]) -> dict[str, Any]:
    """Makes the forked child look as a new `python -c CODE ARGUMENTS` does; returns the names of its `__main__`."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = request["argv"]
    ours, theirs = (env.get("PYTHONPATH", "").split(os.pathsep) for env in (STARTED_WITH, request["env"]))
    sys.path[:] = ["", *filter(None, theirs), *[path for path in sys.path[1:] if path not in {*ours, *theirs}]]
    importlib.invalidate_caches()
    if "numpy" in sys.modules:  # Python seeds its own generator anew in a fork
        sys.modules["numpy"].random.seed()
    sys.modules["__main__"] = types.ModuleType("__main__")
    return sys.modules["__main__"].__dict__


def _end(code: int) -> NoReturn:
    """Ends the process as Python's own end does, but for freeing what was imported: with all of torch in memory, two seconds of a core."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that are no daemons
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except (OSError, ValueError):
            code = 120
    os._exit(code)


def _run(code: str, names: dict[str, Any]) -> NoReturn:
    """What `python -c CODE` does; Ctrl-C that nobody heard is left to Python."""
    try:
        exec(compile(code, "<string>", "exec", dont_inherit=True), names)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            _end((end.code or 0) & 0xFF)
        print(end.code, file=sys.stderr)
        _end(1)
    except Exception:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        _end(1)
    _end(0)


if __name__ == "__main__":
    STARTED_WITH = dict(os.environ)
    asked = _serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
    _run(asked["code"], _become(asked))
