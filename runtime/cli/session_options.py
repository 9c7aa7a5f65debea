"""`--device`, `--session` and `--compute`: how an engine is opened, the same in every command that opens one.

The choices stand in `runtime/sessions/wanted.py` too, which a command does not load for its `--help`; a test compares them.
"""

from __future__ import annotations

import click

DEVICES = ("auto", "cpu", "cuda")
SESSIONS = ("auto", "tensorrt", "onnxruntime-tensorrt", "onnxruntime", "openvino")
COMPUTES = ("card", "tf32", "fp16", "bf16")

OPTIONS = (
    click.option(
        "--device", type=click.Choice(DEVICES), default="auto", show_default=True, help="auto: a GPU where one serves."
    ),
    click.option(
        "--session",
        type=click.Choice(SESSIONS),
        default="auto",
        show_default=True,
        help="The library; auto: the fastest that runs the file here at its precision.",
    ),
    click.option(
        "--compute",
        type=click.Choice(COMPUTES),
        default="card",
        show_default=True,
        help="What a float32 graph may be computed in; card: what the file says.",
    ),
)
EXPLAIN = click.option(
    "--explain", is_flag=True, help="Print which session would run the engine and why not the others; run nothing."
)
