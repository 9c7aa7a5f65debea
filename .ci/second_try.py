"""Runs pytest as `python -m pytest ARGUMENTS` would; a few tests that fail are tried once more, alone in one process: for `.ci/run`.

The machines of CI are shared, and a landing is not to wait for one test that lost a race. What passed alone is written to the file that
SECOND_TRY names, for `.ci/run` to print: such a test is a defect to mend. More than `MOST` failures, one more failure alone, an exit
code other than 1 (a fault in collection, say) and a run that hangs are failures as ever. docs/decisions.md says why.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

MOST = 3
LIMIT_S = float(os.environ.get("SECOND_TRY_LIMIT_S") or 25 * 60)
"""Of one run of pytest, several times what the longest group takes."""
HUNG = 124
"""The exit code of timeout(1)."""


def main(arguments: list[str]) -> int:
    code, failed, crashes = _run(arguments)
    if code != 1:
        return code
    if not 1 <= len(failed) <= MOST or crashes > 1:  # after the second crash the rest of the tests is not run
        print(
            f"\nno second try: {len(failed)} tests failed, {crashes} processes crashed; 1 to {MOST} and 1 would be",
            flush=True,
        )
        return code
    print(f"\nsecond try, alone in one process: {'; '.join(failed)}", flush=True)
    options = [word for word in arguments if not word.startswith("tests")]
    again, _, _ = _run([*options, *(["-n0"] if "-n" in options else []), *failed])
    if again == 0:
        with Path(os.environ["SECOND_TRY"]).open("a") as names:
            names.writelines(f"{name}\n" for name in failed)
    return again


def _run(arguments: list[str]) -> tuple[int, list[str], int]:
    """Exit code of pytest, what failed, and how many of xdist's processes crashed. With all its processes it is ended after `LIMIT_S`."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "failed.json"
        process = subprocess.Popen([sys.executable, __file__, RECORD, str(record), *arguments], start_new_session=True)
        try:
            code = process.wait(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGABRT)  # each process says where it was: pytest turns faulthandler on
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
            print(f"\npytest {' '.join(arguments)}: ended after {LIMIT_S:g} s; above is where it was", flush=True)
            code = HUNG
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # nothing of it is left, hung or interrupted
            process.wait()
        failed, crashes = json.loads(record.read_text()) if record.exists() else ([], 0)
        return code, failed, crashes


RECORD = "--record-failures"


def _record(path: Path, arguments: list[str]) -> int:
    """Runs pytest in this process. Not its own --last-failed: there a worker's crash is forgotten when another worker repeats the test."""
    import pytest

    failed, crashes = set(), []

    class Recorder:
        @staticmethod
        def pytest_runtest_logreport(report: pytest.TestReport) -> None:
            if report.failed:
                failed.add(report.nodeid)
                crashes.extend([report.nodeid] if report.when not in ("setup", "call", "teardown") else [])

    sys.path[0] = os.getcwd()  # as for `python -m pytest`
    sys.argv = ["pytest", *arguments]
    code = pytest.main(arguments, [Recorder()])
    path.write_text(json.dumps([sorted(failed), len(crashes)]))
    return code


def _end(*_: object) -> None:
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    if sys.argv[1:2] == [RECORD]:
        sys.exit(_record(Path(sys.argv[2]), sys.argv[3:]))
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main(sys.argv[1:]))
