"""Processes that are killed at a moment of their lives, and what must hold of what they leave."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ENDED = 300.0
"""Seconds in which a process that nobody disturbs has ended, on a machine whose cores others use as well."""
VARY = ("summary.json", ".dlcv-lock")
"""Of a run of inference: they tell times, or nothing."""
UNORDERED = (".csv", ".jsonl")
"""A line a tile, in the order in which tiles were done."""

SLOW_DISK = """
import builtins, time
import dlcv.runtime.files as files, dlcv.runtime.records.journal as journal
class Slow:
    def __init__(self, file): self._file = file
    def write(self, data):
        half = len(data) // 2
        self._file.write(data[:half])
        self._file.flush()
        time.sleep(SECONDS)
        return self._file.write(data[half:])
    def __enter__(self): return self
    def __exit__(self, *error): return self._file.__exit__(*error)
    def __getattr__(self, name): return getattr(self._file, name)
def slow(path, mode="r", *a, **k):
    file = builtins.open(path, mode, *a, **k)
    return Slow(file) if set(mode) & set("wa") else file
files.open = journal.open = slow
"""
"""Run in a process before its command: each write is in two halves with a pause between, so that a kill falls into it."""

SERVER = """
import json, os, signal, sys, traceback
from importlib import import_module
for name in PRELOAD:
    try: import_module(name)
    except ImportError: pass  # an extra that is not installed
exec(FIRST, {})
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
def put(path, text):
    with open(path + "~", "w") as file: file.write(text)
    os.rename(path + "~", path)
for line in sys.stdin:
    order = json.loads(line)
    if os.fork(): continue
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child:
        put(order["at"] + ".pid", str(child))
        _, status = os.waitpid(child, 0)
        put(order["at"] + ".code", str(os.waitstatus_to_exitcode(status)))
        os._exit(0)
    for number, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY)):
        os.dup2(os.open(os.devnull, flags), number)
    os.dup2(os.open(order["at"] + ".err", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = 1
    try:
        exec(order["before"], {})
        import_module(order["module"]).main(order["arguments"], prog_name=order["name"])
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)
os._exit(0)  # to take torch down takes a second
"""
"""Forks a process a line, with what takes seconds to import imported already."""


class Server:
    """Starts commands in forked processes, which live from the command's first line on.

    Args:
        preload: modules.
        env: of the processes.
        folder: for what they say, and how they ended.
        first: run once the modules are there, before the first fork.
    """

    def __init__(self, preload: Sequence[str], env: dict[str, str], folder: Path, first: str = "") -> None:
        code = SERVER.replace("PRELOAD", repr(list(preload))).replace("FIRST", repr(first))
        self._process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, text=True, env=env)
        self._folder, self._count = folder, 0

    def start(self, module: str, name: str, arguments: Sequence[Any], before: str = "") -> Forked:
        """Starts a command, as `subprocess.Popen` would."""
        self._count += 1
        at = str(self._folder / str(self._count))
        order = {
            "at": at, "module": module, "name": name, "arguments": [str(one) for one in arguments], "before": before
        }  # fmt: skip
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return Forked(Path(at))

    def close(self) -> None:
        """Ends the server."""
        self._process.communicate(timeout=ENDED)


class Forked:
    """What a test needs of `subprocess.Popen`, of a process of a `Server`."""

    def __init__(self, at: Path) -> None:
        self._at = at
        self.returncode: int | None = None
        self.pid = int(_appears(at.with_suffix(".pid")))

    def poll(self) -> int | None:
        """Its exit code, once it has ended."""
        path = self._at.with_suffix(".code")
        if self.returncode is None and path.exists():
            self.returncode = int(path.read_text())
        return self.returncode

    def wait(self, timeout: float = ENDED) -> int:
        """As Popen's."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self._at), timeout)
            time.sleep(0.004)
        return code

    def communicate(self, timeout: float = ENDED) -> tuple[str, str]:
        """Waits; what it said on stderr."""
        self.wait(timeout)
        return "", self._at.with_suffix(".err").read_text(errors="replace")

    def send_signal(self, number: int) -> None:
        """As Popen's."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """As Popen's."""
        self.send_signal(signal.SIGKILL)


def _appears(path: Path) -> str:
    deadline = time.monotonic() + ENDED
    while not path.exists():
        assert time.monotonic() < deadline, "the server is gone"
        time.sleep(0.001)
    return path.read_text()


def slow_disk(seconds: float) -> str:
    """`SLOW_DISK` with a pause of so many seconds."""
    return SLOW_DISK.replace("SECONDS", str(seconds))


def moments(count: int, seed: int | None = None) -> Iterator[float]:
    """Moments of a life, 0..1: drawn, without end, or with `seed` None `count` of them evenly."""
    if seed is None:
        yield from ((k + 0.5) / count for k in range(count))
        return
    drawn = random.Random(seed)
    while True:
        yield drawn.random()


def settings(long: bool, few: int) -> tuple[int, int | None]:
    """How many kills, and the seed of their moments; `DLCV_MOMENTS` and `DLCV_SEED` set those of the long tier."""
    if not long:
        return few, None
    return int(os.environ.get("DLCV_MOMENTS", "100")), int(os.environ.get("DLCV_SEED", "0"))


def wait_until(process: Any, sign: Callable[[], bool]) -> None:
    """Waits for a sign of a process that must not end before it."""
    deadline = time.monotonic() + ENDED
    while not sign():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it does not get on"
        time.sleep(0.001)


def life_of(process: Any) -> float:
    """Seconds that an undisturbed process takes from its start; it must end well."""
    started = time.monotonic()
    _, err = process.communicate(timeout=ENDED)
    assert process.returncode == 0, err
    return time.monotonic() - started


def kill_after(process: Any, seconds: float) -> bool:
    """kill -9 after so many seconds; False when it had ended by then."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    process.communicate()
    return process.returncode == -9


def kill_at_rows(process: Any, manifest: Path, rows: int) -> None:
    """kill -9 once the manifest has so many rows."""
    while process.poll() is None and not (manifest.exists() and manifest.read_bytes().count(b"\n") > rows):
        time.sleep(0.001)
    process.kill()
    process.communicate()
    assert process.returncode == -9, "it ended before"


def killed(start: Callable[[], Any], life_s: float, count: int, seed: int | None) -> Iterator[float]:
    """Starts a process again and again and kills each at a moment of its life, `count` times in all.

    Args:
        start: starts one from the beginning, whatever the one before left.
        life_s: how long one takes that is left alone.
        count, seed: see `moments`.

    Yields:
        The moment, as a share of the life, after each kill. One that had ended before its moment is no kill: the machine was
        quicker this time, and the life is taken to be shorter from here on.
    """
    for _, moment in zip(range(count), moments(count, seed)):
        while not kill_after(start(), moment * life_s):
            life_s *= 0.9
        yield moment


def tree(folder: Path) -> dict[str, bytes]:
    """What a run of inference left, by path: files as they are, tables sorted by line."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in VARY:
            data = path.read_bytes()
            found[name] = b"".join(sorted(data.splitlines(keepends=True))) if name.endswith(UNORDERED) else data
    return found


def differing_bytes(found: dict[str, bytes], expected: dict[str, bytes]) -> int:
    """How many bytes of two trees are not the same; a file that is in one alone counts whole."""
    count = 0
    for name in found.keys() | expected.keys():
        one, other = found.get(name, b""), expected.get(name, b"")
        count += abs(len(one) - len(other)) + sum(a != b for a, b in zip(one, other)) if one != other else 0
        count += (name not in found or name not in expected) and not (one or other)
    return count


def check_whole(folder: Path, expected: dict[str, bytes]) -> None:
    """What lies under a final name after a kill is what an undisturbed run puts there; a table may end early, or in a torn line."""
    for name, data in tree(folder).items():
        if ".partial" in name:
            assert Path(name).name.startswith("."), name
        elif name.endswith(UNORDERED):
            whole = {line for line in (folder / name).read_bytes().splitlines(keepends=True) if line.endswith(b"\n")}
            assert whole <= set(expected[name].splitlines(keepends=True)), name
        else:
            assert data == expected[name], name


def check_counts(folder: Path, tiles: int) -> None:
    """The summary and the manifest agree that all tiles are done."""
    facts = json.loads((folder / "summary.json").read_text())
    assert (facts["tiles"], facts["done"], facts["failed"], facts["complete"]) == (tiles, tiles, 0, True)
    rows = list(csv.DictReader(io.StringIO((folder / "manifest.csv").read_text())))
    assert len({row["path"] for row in rows}) == len(rows) == tiles


def losses(run: Path) -> list[dict[str, str]]:
    """The rows of a training's history, without what is a time."""
    with open(run / "history.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k not in ("seconds", "data_wait")} for row in csv.DictReader(file)]


def note(name: str, facts: dict[str, float | int | str]) -> None:
    """Adds figures to the file that `DLCV_FIGURES` names, for the report."""
    path = os.environ.get("DLCV_FIGURES")
    if path:
        with open(path, "a") as file:
            file.write(json.dumps({"test": name} | facts) + "\n")
