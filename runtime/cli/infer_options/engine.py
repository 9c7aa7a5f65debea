"""Which engine, and how it is opened: `EngineSettings`."""

from __future__ import annotations

from pathlib import Path

import click

from dlcv.runtime.cli import session_options
from dlcv.runtime.cli.trust_options import TRUST_OPTIONS

OPTIONS = (
    click.option(
        "--engine", type=click.Path(path_type=Path), required=True, help="An .onnx or a .plan made by dlcv-export."
    ),
    click.option(
        "--rebuild",
        is_flag=True,
        help="Build a plan anew from the .onnx beside it where it is of another TensorRT or GPU.",
    ),
    *session_options.OPTIONS,
    session_options.EXPLAIN,
    *TRUST_OPTIONS,
)
