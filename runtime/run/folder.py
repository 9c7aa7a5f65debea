"""The output folder of a run: taken by one run at a time, continued or refused in words.

`run.json` says which engine and settings made what is there, `manifest.csv` which tiles are done, `predictions.csv` (or
`.jsonl`) holds what a classifier said, `summary.json` how the run ended, and `.dlcv-lock` is held while a run is at work; the operating system frees it when the process ends, however it ends.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from dlcv.runtime.errors import OutputError, UsageError, one_line
from dlcv.runtime.files import make_folder, write_bytes
from dlcv.runtime.locks import lock
from dlcv.runtime.outputs.beside import all_beside
from dlcv.runtime.records.manifest import DONE, Row, read_manifest
from dlcv.runtime.records.output_names import LOCK, RESERVED, SUMMARY, TABLES
from dlcv.runtime.tiles.earlier_runs import MANIFEST, RUN, WRITTEN_BY

_SHOWN = 60
"""Characters of a setting, at most, in a refusal."""


class RunFolder:
    """An output folder, locked while in `with`.

    Args:
        folder: made where it is missing.
        identity: what makes the outputs what they are (engine's hash, fit, ...); a resumed run must have the same.
        resume: keep what is done.
        overwrite: forget what is done.
        kinds: of the files that the run writes beside the answers (see `outputs/beside.py`).
    """

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, Any],
        *,
        resume: bool = False,
        overwrite: bool = False,
        kinds: Sequence[str] = (),
    ) -> None:
        self.folder, self._identity, self._kinds = folder, dict(identity), list(kinds)
        self._resume, self._overwrite = resume, overwrite
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> RunFolder:
        make_folder(self.folder)
        self._take_lock()
        try:
            self._begin()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    @property
    def manifest(self) -> Path:
        """Where the manifest is."""
        return self.folder / MANIFEST

    def done(self) -> dict[str, Row]:
        """Rows of the tiles that are done, by path; whether their outputs are there and whole is not looked at."""
        if not self.manifest.exists():
            return {}
        done: dict[str, Row] = {}
        for row in read_manifest(self.manifest):
            if row.status == DONE:
                done[row.path] = row
            else:
                done.pop(row.path, None)
        return done

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Writes `summary.json`, whole."""
        write_bytes(self.folder / SUMMARY, (json.dumps(summary, indent=1) + "\n").encode())

    def remove_files_of(self, rows: Sequence[Row]) -> None:
        """Removes the outputs that rows of the manifest list, and the files beside them: nothing outside the folder, and no table."""
        kinds = self._read_run().get("beside", [])
        beside = all_beside(kinds if isinstance(kinds, list) else [], [row.path for row in rows])
        for output in (*(row.output for row in rows), *beside):
            if output in RESERVED:  # a table, which has other tiles' rows, too
                continue
            if output and not os.path.isabs(output) and ".." not in Path(output).parts:
                _remove(self.folder / output)

    def _begin(self) -> None:
        if self.manifest.exists() and self._resume:
            self._require_same_run()
            return
        if not self._overwrite and self._in_use():
            go_on = (
                f"but its {MANIFEST} is gone, so that nothing tells what is done; "
                if self._resume
                else "already; go on with it by --resume, "
            )
            raise UsageError(
                f"{self.folder} holds a run {go_on}start again with --overwrite, or name another folder with --output"
            )
        self._remove_outputs()
        for name in (*TABLES, MANIFEST, SUMMARY, RUN):
            _remove(self.folder / name)
        facts = {"written_by": WRITTEN_BY} | self._identity | ({"beside": self._kinds} if self._kinds else {})
        write_bytes(self.folder / RUN, (json.dumps(facts, indent=1) + "\n").encode())

    def _in_use(self) -> bool:
        """Whether the folder holds a run, or files of somebody else by the names that a run writes."""
        if any((self.folder / name).exists() for name in (MANIFEST, SUMMARY, *TABLES)):
            return True
        return (self.folder / RUN).exists() and self._read_run().get("written_by") != WRITTEN_BY

    def _read_run(self) -> dict[str, Any]:
        try:
            values = json.loads((self.folder / RUN).read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return values if isinstance(values, dict) else {}

    def _remove_outputs(self) -> None:
        """Removes the files that the manifest lists and those beside them, so that none of another engine stays behind without a row."""
        if not self.manifest.exists():
            return
        try:
            rows = [row for row in read_manifest(self.manifest) if row.status == DONE]
        except OutputError:
            return  # no manifest of ours: nothing is known to be ours
        self.remove_files_of(rows)

    def _require_same_run(self) -> None:
        try:
            before = json.loads((self.folder / RUN).read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise OutputError(f"{self.folder / RUN} cannot be read ({error}); start again with --overwrite") from error
        facts = before if isinstance(before, dict) else {}
        different = [name for name, value in self._identity.items() if facts.get(name) != value]
        if different:
            raise UsageError(
                f"{self.folder} holds a run with other settings: {_differences(facts, self._identity, different)}; start again with --overwrite, or name another folder with --output"
            )

    def _take_lock(self) -> None:
        try:
            self._lock = open(self.folder / LOCK, "ab")  # noqa: SIM115 - held open as long as the run
        except OSError as error:
            raise OutputError(
                f"cannot write in {self.folder}: {error.strerror or error}; choose another folder with --output"
            ) from error
        try:
            lock(self._lock.fileno())
        except OSError as error:
            self._release()
            raise UsageError(
                f"{self.folder} is in use by another run of dlcv-infer; wait for it, or name another folder with --output"
            ) from error

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], names: Sequence[str]) -> str:
    """`fit (pad, now windows), alpha (0.5, now 0.3)`."""
    return ", ".join(f"{name} ({_shown(before.get(name))}, now {_shown(now[name])})" for name in names)


def _shown(value: Any) -> str:
    """A setting for people: of what is long, such as a hash or many folders, the start."""
    if isinstance(value, list) and len(value) == 1:
        (value,) = value
    text = one_line(value if isinstance(value, str) else json.dumps(value))
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError, NotADirectoryError):
        path.unlink()
