"""Starts a module in a Python that has TensorRT and may be a wrapper with a `PYTHONPATH` of its own: `start.py MODULE ARGUMENT...`.

What is lent to it is named by `DLCV_EXTRA_PYTHONPATH`. `start.py --has PACKAGE` tells by its exit code whether a package can be imported.
By its path, not by its name: dlcv is among what is lent.
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys


def main() -> None:
    """See the module."""
    lent = [path for path in os.environ.get("DLCV_EXTRA_PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[0:1] = []  # this file's folder, whose modules are dlcv's
    sys.path.extend(path for path in lent if path not in sys.path)
    own = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [*own, *(path for path in lent if path not in own)]))
    what, *arguments = sys.argv[1:]
    if what == "--has":
        sys.exit(importlib.util.find_spec(arguments[0]) is None)
    sys.argv[:] = [what, *arguments]
    runpy.run_module(what, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
