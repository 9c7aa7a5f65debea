"""The options of `dlcv-train`, a file a group, as `train/settings/groups.py` groups what they set."""

from __future__ import annotations

from dlcv.runtime.cli.common import with_options
from dlcv.train.cli.train_options import data, imbalance, model, optimizer, run, watch

GROUPS = (model.OPTIONS, data.OPTIONS, optimizer.OPTIONS, imbalance.OPTIONS, run.OPTIONS, watch.OPTIONS)
HEADINGS = {
    "--model": "Model",
    "--data": "Data",
    "--batch": "Steps",
    "--loss": "Rare classes",
    "--epochs": "Run",
    "--snapshot-epochs": "Kept for the report",
    "--version": "Other",
}
"""Of `--help`: a group's first option, and its heading."""

train_options = with_options(GROUPS)
"""Adds all of them; `--help` shows them in this order."""
