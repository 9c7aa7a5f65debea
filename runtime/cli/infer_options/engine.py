"""Which engine, and how it is opened: `EngineSettings`."""

from __future__ import annotations

from pathlib import Path

import click

from dlcv.runtime.cli.trust_options import TRUST_OPTIONS

OPTIONS = (
    click.option(
        "--engine", type=click.Path(path_type=Path), required=True, help="An .onnx or a .plan made by dlcv-export."
    ),
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True),
    *TRUST_OPTIONS,
)
