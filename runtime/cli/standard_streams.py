"""Standard streams that were closed before the command began, as some daemons and `2>&-` leave them.

The next file that is opened gets the number of a closed stream, so what a library writes to stderr would be written into a
mask or a lock file; and Python has None for `sys.stderr`.
"""

from __future__ import annotations

import os
import sys

_NAMES = ("stdin", "stdout", "stderr")


def open_closed_streams() -> None:
    """Puts the null device where stdin, stdout or stderr is closed; what would be told there is told to nobody."""
    for number, name in enumerate(_NAMES):
        try:
            os.fstat(number)
        except OSError:
            # the lowest free number, which is this one
            stream = open(os.devnull, "r" if number == 0 else "w")  # noqa: SIM115
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)
