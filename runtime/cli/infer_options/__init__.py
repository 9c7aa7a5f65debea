"""The options of `dlcv-infer`, a file a group, as `runtime/work/settings.py` groups what they set."""

from __future__ import annotations

from dlcv.runtime.cli.common import with_options
from dlcv.runtime.cli.infer_options import engine, fitting, outputs, run

GROUPS = (engine.OPTIONS, fitting.OPTIONS, outputs.OPTIONS, run.OPTIONS)
HEADINGS = {
    "--engine": "Engine",
    "--fit": "From tiles to the engine",
    "--output": "Output",
    "--overlay": "Beside the masks",
    "--batch": "Run",
    "--version": "Other",
}
"""Of `--help`: a group's first option, and its heading."""

infer_options = with_options(GROUPS)
"""Adds all of them; `--help` shows them in this order."""
