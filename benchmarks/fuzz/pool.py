"""Runs mutants in a process that may die or hang: it is replaced, and the mutant counts as a crash or a hang."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

HANG_S = 20.0
"""A mutant that takes longer hangs; a third of what `dlcv-infer` waits for a tile."""
START_S = 120.0
"""The first mutant of a process waits for the imports, too."""
LIVES = 2000
"""Mutants of a process, so that what one of them leaves behind does not last."""


@dataclass(frozen=True)
class Outcome:
    """How the reading of a mutant ended.

    Attributes:
        kind, seed, number: which mutant; the same three make it again.
        outcome: `success`, `refused` (in a line of ours), `fault` (in another way), `crash` or `hang`.
        error: in words; of `refused` without numbers and names, so that kinds can be counted.
        by: the mutators.
        peak: memory that it took at most, in bytes.
        seconds: that it took.
    """

    kind: str
    seed: str
    number: int
    outcome: str
    error: str = ""
    by: tuple[str, ...] = ()
    peak: int = 0
    seconds: float = 0.0


class Pool:
    """One process at a time, used inside `with`.

    Args:
        seeds: a folder with a folder a kind and a file a seed.
        hang_s: see `HANG_S`.
        environment: for the process, beside this one's.
    """

    def __init__(self, seeds: Path, hang_s: float = HANG_S, environment: dict[str, str] | None = None) -> None:
        self._seeds, self._hang_s, self._environment = seeds, hang_s, environment or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        self._kind, self._left = "", 0
        self.started = 0

    def __enter__(self) -> Pool:
        self._scratch = tempfile.TemporaryDirectory()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self._scratch.cleanup()

    def read(self, kind: str, seed: str, number: int) -> Outcome:
        """Makes a mutant and reads it; number -1 is the valid file itself."""
        fresh = self._process is None or kind != self._kind or self._left == 0
        if fresh:
            self._start(kind)
        assert self._process is not None
        assert self._process.stdin is not None
        self._left -= 1
        ask = json.dumps({"kind": kind, "seed": seed, "number": number}) + "\n"
        try:
            self._process.stdin.write(ask.encode())
            self._process.stdin.flush()
            line = self._answer(START_S if fresh else self._hang_s)
        except BrokenPipeError:
            line = b""
        if line is None:
            self._end()
            return Outcome(kind, seed, number, "hang", f"no answer within {self._hang_s:g} s")
        if not line:
            return Outcome(kind, seed, number, "crash", self._last_words())
        values = json.loads(line)
        return Outcome(kind, seed, number, **values | {"by": tuple(values["by"])})

    def _start(self, kind: str) -> None:
        self._end()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        arguments = [sys.executable, "-m", "dlcv.benchmarks.fuzz.worker", str(self._seeds), self._scratch.name]
        self._process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "OMP_NUM_THREADS": "1", **self._environment},
        )
        self._kind, self._left, self.started = kind, LIVES, self.started + 1

    def _answer(self, limit_s: float) -> bytes | None:
        """A line; empty where the process has ended, None where it took too long."""
        assert self._process is not None
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            return self._process.stdout.readline() if selector.select(limit_s) else None

    def _last_words(self) -> str:
        assert self._process is not None
        assert self._errors is not None
        code = self._process.wait()
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - 300))
        said = self._errors.read().decode("utf-8", "replace").strip()
        self._end()
        return (signal.Signals(-code).name if code < 0 else f"exit {code}") + f": {said}"

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
        if self._errors is not None:
            self._errors.close()
            self._errors = None
