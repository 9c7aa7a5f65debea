"""`dlcv-infer`: tiles in, masks or predictions out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dlcv.runtime.cli.common import Command, note, version_option
from dlcv.runtime.cli.infer_options import HEADINGS, infer_options
from dlcv.runtime.cli.trust_options import take_trust
from dlcv.runtime.errors import EXIT_ERROR, EXIT_INCOMPLETE, Interrupted, UsageError, one_line


@click.command("dlcv-infer", cls=Command, headings=HEADINGS)
@click.argument("tiles", nargs=-1)
@infer_options
@version_option
@click.pass_context
def main(
    ctx: click.Context,
    /,
    tiles: tuple[str, ...],
    scale_16bit: tuple[float, float] | None,
    explain: bool,
    **options: Any,
) -> None:
    """Write what the engine says about each of TILES: files, folders (searched recursively) or globs.

    Segmentation: a mask a tile, a palette PNG whose values are class indices. Classification: a row a tile in
    predictions.csv. manifest.csv holds a row a tile, with the reason where one failed. Exit code: 0 all done, 1 some tiles
    failed, 2 nothing could be done, 130 interrupted, 143 ended by SIGTERM.

    \b
    dlcv-infer tiles/ --engine fcn8s.plan
    dlcv-infer tiles/ more/a.tif 'x/*.jpg' --engine fcn8s.onnx --output masks/
    dlcv-infer tiles/ --engine resnet18.onnx --format jsonl --top-k 3
    dlcv-infer --engine fcn8s.onnx --explain
    """
    options["trust"] = take_trust(options)
    if explain:
        _explain(ctx, **options)
        return
    if options["resume"] and options["overwrite"]:
        raise UsageError("--resume keeps what is done and --overwrite forgets it; pass one of them")
    from dlcv.runtime.run.inference import InferSettings, default_output, infer
    from dlcv.runtime.tiles.decode import DecodeOptions

    options["output"] = options["output"] or default_output(options["engine"])
    try:
        settings = InferSettings.of(sources=tiles, decode=DecodeOptions(scale_16bit=scale_16bit), **options)
        summary = infer(settings, say=note)
    except KeyboardInterrupt:
        message = f"interrupted; finished tiles are whole and in {options['output']}; go on with --resume"
        raise Interrupted(message) from None
    resumed = f" ({summary.resumed} of them before)" if summary.resumed else ""
    took = ""
    if summary.seconds:
        from dlcv.runtime.progress import duration, per_second

        took = f" ({duration(summary.seconds)}, {per_second(summary.tiles_per_second)} tiles/s)"
    note(f"{summary.done} of {summary.tiles} tiles done{resumed}, {summary.failed} failed: {options['output']}{took}")
    if options["polygons"] and options["simplify"] is None and options["min_area"] is None and not options["quiet"]:
        note("polygons follow the edge of every pixel; --simplify 1 --min-area 50 makes them fewer and smaller")
    page = [f"look through them: {options['output'] / 'gallery/index.html'}"] * bool(options["gallery"])
    for line in (*summary.notices, summary.verdict, *page):
        if line:
            note(line)
    if summary.failed:
        note(f"first failure: {summary.first_failure}; all are in {options['output'] / 'manifest.csv'}")
        ctx.exit(EXIT_INCOMPLETE)


def _explain(ctx: click.Context, engine: Path, **options: Any) -> None:
    from dlcv.runtime.sessions import explain_session

    how = {name: options[name] for name in ("device", "session", "compute", "trust")}
    verdicts = explain_session(engine, **how)
    for verdict in verdicts:
        click.echo(one_line(verdict))
    if not any(verdict.chosen for verdict in verdicts):
        ctx.exit(EXIT_ERROR)
