"""A process that spoils and reads what it is told to: `python -m dlcv.benchmarks.fuzz.worker SEEDS SCRATCH`.

A line of JSON on stdin names a mutant, a line on stdout tells how it ended; nothing comes back where the process dies or hangs. Its
memory is bounded by the operating system, above what it had when it had read the first valid file of the kind.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from dlcv.benchmarks.fuzz.mutators import mutated
from dlcv.benchmarks.fuzz.targets import TARGETS, Fault, Target
from dlcv.runtime.errors import DlcvError, one_line

MEMORY_BYTES = 1 << 30
"""Of address space, that a reader may ask for; more ends in Python's MemoryError or in a library's own error."""
_DETAIL = re.compile(r"(/[^\s:,;]+)|(b?'[^']*')|(b?\"[^\"]*\")|(-?[0-9][0-9a-f.]*)")


def main() -> None:
    """Serves until stdin ends."""
    seeds, scratch = Path(sys.argv[1]), Path(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    warm: set[str] = set()
    for line in sys.stdin:
        ask = json.loads(line)
        target = TARGETS[ask["kind"]]
        files = {path.name: path.read_bytes() for path in sorted((seeds / ask["kind"]).iterdir())}
        if ask["kind"] not in warm:
            warm.add(ask["kind"])
            _warm_up(target, files, scratch)
        data, by = files[ask["seed"]], ["nothing"]
        if ask["number"] >= 0:
            data, by = mutated(data, ask["number"], list(files.values()), target.mutators)
        answers.write(json.dumps(_outcome(target, data, scratch) | {"by": by}) + "\n")
        answers.flush()


def _warm_up(target: Target, files: dict[str, bytes], scratch: Path) -> None:
    """Loads what the kind needs, and bounds the memory from here on."""
    import resource

    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    _outcome(target, next(iter(files.values())), scratch)
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + MEMORY_BYTES, hard))


def _outcome(target: Target, data: bytes, scratch: Path) -> dict[str, Any]:
    path = scratch / target.name
    path.write_bytes(data)
    before = _reset_peak()
    start = time.perf_counter()
    outcome, error = _read(target, path)
    seconds = time.perf_counter() - start
    return {"outcome": outcome, "error": error, "seconds": seconds, "peak": max(0, _status("VmHWM") - before)}


def _read(target: Target, path: Path) -> tuple[str, str]:
    try:
        target.read(path)
    except DlcvError as error:
        text = str(error)
        if "\n" in text or "\r" in text or not text:
            return "fault", f"{type(error).__name__} of several lines or none: {one_line(text)}"
        return "refused", f"{type(error).__name__}: {_DETAIL.sub('*', text)}"
    except Fault as error:
        return "fault", f"wrong: {error}"
    except BaseException as error:
        return "fault", _with_place(error)
    return "success", ""


def _with_place(error: BaseException) -> str:
    """Class and words, and the last lines of ours that it passed."""
    places, trace = [], error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{Path(code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return f"{type(error).__name__}: {one_line(error)[:300]} at {' '.join(places[-4:])}"


def _reset_peak() -> int:
    """What the process has in memory now, in bytes; its peak is counted from here."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.split(name + ":", 1)[1].split(None, 1)[0]) * 1024


if __name__ == "__main__":
    main()
