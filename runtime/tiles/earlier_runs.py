"""Folders that hold what an earlier run of dlcv-infer wrote: its masks and overlays are no tiles."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

MANIFEST, RUN = "manifest.csv", "run.json"
"""Files in the output folder of every run."""
WRITTEN_BY = "dlcv-infer"
"""Stands in `run.json`, first."""
_MARK = b'"written_by": "%s"' % WRITTEN_BY.encode()
_LOOKED_AT = 4096
"""Bytes of `run.json`."""


def holds_a_run(folder: str) -> bool:
    """Whether a folder is the output of a run; no where that cannot be told."""
    path = os.path.join(folder, RUN)
    with suppress(OSError):
        if stat.S_ISREG(os.lstat(path).st_mode):  # a pipe would never end
            with open(path, "rb") as file:
                return _MARK in file.read(_LOOKED_AT)
    return False
