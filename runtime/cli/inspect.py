"""`dlcv-inspect`: what is in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from dlcv.runtime.cli.common import Command, note, os_error, version_option
from dlcv.runtime.errors import EXIT_ERROR, EXIT_INCOMPLETE, DlcvError


@click.command("dlcv-inspect", cls=Command)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, an object a file, with every tensor.")
@click.option(
    "--key", default=None, metavar="PUBLIC_KEY", help="Check signatures with this key of minisign (a file, or RW...)."
)
@click.option("--tensors", is_flag=True, help="List the tensors of checkpoints and references too.")
@version_option
@click.pass_context
def main(ctx: click.Context, /, files: tuple[Path, ...], as_json: bool, key: str | None, tensors: bool) -> None:
    """Print what FILES say of themselves: the model card, inputs and outputs, precision, hashes, who built them.

    A file is an .onnx, a .plan, a checkpoint, a .reference.npz or a sidecar .json. No GPU is needed, and nothing in a file is
    run. Exit code: 0 all read, 1 a file is not the one that its sidecar lists, or with
    --key its signature fails or is missing, 2 a file is missing or damaged.

    \b
    dlcv-inspect fcn8s.onnx fcn8s.plan
    dlcv-inspect runs/fcn8s/best.pt --tensors
    """
    from dlcv.runtime.inspection import inspect_file
    from dlcv.runtime.inspection.report import inspection_text

    found: list[dict[str, Any]] = []
    code = 0
    for path in files:
        try:
            inspection = inspect_file(path, key)
        except (DlcvError, OSError) as error:
            problem = error if isinstance(error, DlcvError) else os_error(error)
            note(f"{ctx.info_name}: {problem}")
            found.append({"path": str(path), "error": str(problem)})
            code = EXIT_ERROR
            continue
        if inspection.sidecar in ("differs", "not listed") or inspection.signature["state"] == "fails":
            code = code or EXIT_INCOMPLETE
        if not as_json:
            click.echo(("\n" if found else "") + inspection_text(inspection, tensors=tensors))
        found.append(inspection.to_dict())
    if as_json:
        click.echo(json.dumps(found, indent=1))
    ctx.exit(code)
