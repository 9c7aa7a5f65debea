"""`dlcv-evaluate`: an engine or checkpoints on labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dlcv.benchmarks.cli.options import labelled_data_options
from dlcv.runtime.cli.common import Command, note, refuse_to_overwrite, version_option
from dlcv.runtime.cli.trust_options import take_trust
from dlcv.train.cli.own_models import own_models


@click.command("dlcv-evaluate", cls=Command)
@click.option(
    "--engine", type=click.Path(path_type=Path), default=None, help="An .onnx or a .plan made by dlcv-export."
)
@click.option(
    "--checkpoint",
    "checkpoints",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A best.pt or last.pt instead; several, or a folder of them, are averaged.",
)
@labelled_data_options
@click.option(
    "--blend/--no-blend",
    default=None,
    help="Segmentation: average probabilities where windows overlap.  [default: if the engine gives them]",
)
@click.option(
    "--tta",
    type=click.Choice(["none", "flips", "full"]),
    default="none",
    show_default=True,
    help="Average over 4 flips, or all 8 flips and turns, at 4 or 8 times the work.",
)
@own_models
@version_option
def main(
    engine: Path | None, checkpoints: tuple[Path, ...], data: Path, json_file: Path | None, **options: Any
) -> None:
    """Mean IoU and per-class IoU, or accuracy and per-class recall; of an engine without torch.

    \b
    dlcv-evaluate --engine fcn8s.onnx --data tiles/
    dlcv-evaluate --checkpoint runs/resnet18/kept --data images/ --split runs/resnet18/split.csv
    """
    from dlcv.runtime.errors import UsageError

    if (engine is None) == (not checkpoints):
        raise UsageError("expected either --engine FILE or --checkpoint FILE, which may be repeated")
    from dlcv.runtime.files import checkpoint_files

    paths = [engine] if engine is not None else checkpoint_files(checkpoints)
    refuse_to_overwrite(json_file, *paths, *filter(None, [options["split"]]))
    from dlcv.benchmarks.judging.evaluation import run_evaluation
    from dlcv.runtime.card.reader import kind_of
    from dlcv.runtime.files import write_bytes

    for path in paths:
        if (kind_of(path) == "checkpoint") == (engine is not None):
            expected = "--engine FILE expects an .onnx or a .plan" if engine else "--checkpoint FILE expects a best.pt"
            raise UsageError(f"{path} is a file of kind {kind_of(path)}; {expected}")
    trust = take_trust(options)
    report = run_evaluation(paths, data, trust=trust, say=note, **options)
    click.echo(report.table(str(paths[0]) if len(paths) == 1 else f"mean of {len(paths)} checkpoints"))
    for line in report.lines():
        note(line)
    if json_file:
        import json

        named = {"engine": str(engine)} if engine else {"checkpoints": [str(path) for path in paths]}
        write_bytes(json_file, (json.dumps(named | report.to_dict(), indent=1) + "\n").encode())
