"""Which engine, and how it is opened: `EngineSettings`."""

from __future__ import annotations

from pathlib import Path

import click

OPTIONS = (
    click.option(
        "--engine", type=click.Path(path_type=Path), required=True, help="An .onnx or a .plan made by dlcv-export."
    ),
    click.option(
        "--rebuild",
        is_flag=True,
        help="Build a plan anew from the .onnx beside it where it is of another TensorRT or GPU.",
    ),
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True),
)
