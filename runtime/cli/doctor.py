"""`dlcv-doctor`: what this machine can do."""

from __future__ import annotations

import json

import click

from dlcv.runtime.cli.common import Command, version_option
from dlcv.runtime.errors import EXIT_INCOMPLETE


@click.command("dlcv-doctor", cls=Command)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@version_option
@click.pass_context
def main(ctx: click.Context, /, as_json: bool) -> None:
    """Print what this machine can build and run, and the command for what is missing.

    Looked at are Python, packages (also OpenCV or ONNX Runtime installed twice), the NVIDIA driver and its GPUs, ONNX Runtime's
    providers and TensorRT. Exit code: 0, or 1 where something that dlcv needs is broken.

    \b
    dlcv-doctor
    dlcv-doctor --json
    """
    from dlcv.runtime.doctor import examine
    from dlcv.runtime.doctor.report import diagnosis_text

    found = examine()
    click.echo(json.dumps(found.to_dict(), indent=1) if as_json else diagnosis_text(found))
    if found.broken:
        ctx.exit(EXIT_INCOMPLETE)
