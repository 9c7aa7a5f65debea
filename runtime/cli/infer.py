"""`dlcv-infer`: tiles in, masks or predictions out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dlcv.runtime.cli.common import Command, note, version_option
from dlcv.runtime.errors import EXIT_INCOMPLETE, Interrupted, UsageError


def min_max(value: str) -> tuple[float, float]:
    """`MIN,MAX`: two numbers, the first below the second."""
    try:
        low, high = (float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not MIN,MAX, such as 0,10000") from None
    if not low < high:
        raise click.BadParameter(f"MIN must be below MAX, got {value}")
    return low, high


@click.command("dlcv-infer", cls=Command)
@click.argument("tiles", nargs=-1)
@click.option(
    "--engine", type=click.Path(path_type=Path), required=True, help="An .onnx or a .plan made by dlcv-export."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder of the results, manifest.csv and summary.json.  [default: masks, or predictions for a classifier]",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option(
    "--batch", type=click.IntRange(1), default=None, help="Tiles at once.  [default: 8; 1 for segmentation on a CPU]"
)
@click.option(
    "--fit",
    type=click.Choice(["windows", "pad", "resize"]),
    default=None,
    help="Segmentation: tiles of another size: windows (smaller ones padded), pad only, or resize.  [default: the engine's]",
)
@click.option(
    "--overlap",
    type=click.FloatRange(0, 0.9),
    default=None,
    help="Segmentation: of windows, as a share of their side.  [default: 0.25]",
)
@click.option(
    "--name-template",
    default=None,
    help="Segmentation: output names, of {path} {folder} {name} {stem} {suffix}.  [default: {path}.png]",
)
@click.option(
    "--format",
    type=click.Choice(["csv", "jsonl"]),
    default=None,
    help="Classification: predictions.csv, or predictions.jsonl: a JSON object a line.  [default: csv]",
)
@click.option(
    "--top-k",
    type=click.IntRange(1),
    default=None,
    help="Classification: classes in a row.  [default: 5, or all of fewer]",
)
@click.option(
    "--scale-16bit",
    type=min_max,
    default=None,
    metavar="MIN,MAX",
    help="Map 16-bit values linearly to 8 bits; without it such tiles fail.",
)
@click.option("--resume", is_flag=True, help="Go on with the run in the output folder: skip the tiles that are done.")
@click.option("--overwrite", is_flag=True, help="Start again in a folder that holds a run.")
@click.option("--quiet", is_flag=True, help="No progress.")
@version_option
@click.pass_context
def main(
    ctx: click.Context, /, tiles: tuple[str, ...], scale_16bit: tuple[float, float] | None, **options: Any
) -> None:
    """Write what the engine says about each of TILES: files, folders (searched recursively) or globs.

    Segmentation: a mask a tile, a palette PNG whose values are class indices. Classification: a row a tile in
    predictions.csv. manifest.csv holds a row a tile, with the reason where one failed. Exit code: 0 all done, 1 some tiles
    failed, 2 nothing could be done, 130 interrupted.

    \b
    dlcv-infer tiles/ --engine fcn8s.plan
    dlcv-infer tiles/ more/a.tif 'x/*.jpg' --engine fcn8s.onnx --output masks/
    dlcv-infer tiles/ --engine resnet18.onnx --format jsonl --top-k 3
    """
    if options["resume"] and options["overwrite"]:
        raise UsageError("--resume keeps what is done and --overwrite forgets it; pass one of them")
    from dlcv.runtime.decode import DecodeOptions
    from dlcv.runtime.inference import InferSettings, default_output, infer

    options["output"] = options["output"] or default_output(options["engine"])
    try:
        settings = InferSettings(sources=tiles, decode=DecodeOptions(scale_16bit=scale_16bit), **options)
        summary = infer(settings, say=note)
    except KeyboardInterrupt:
        message = f"interrupted; finished tiles are whole and in {options['output']}; go on with --resume"
        raise Interrupted(message) from None
    resumed = f" ({summary.resumed} of them before)" if summary.resumed else ""
    note(f"{summary.done} of {summary.tiles} tiles done{resumed}, {summary.failed} failed: {options['output']}")
    if summary.failed:
        note(f"first failure: {summary.first_failure}; all are in {options['output'] / 'manifest.csv'}")
        ctx.exit(EXIT_INCOMPLETE)
